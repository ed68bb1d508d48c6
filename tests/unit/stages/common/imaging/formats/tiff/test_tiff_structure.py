"""Which pages of a TIFF are the stack, whether all of them are there, and which end of the scale is bright."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.stacks import read_stack
from tests.support.memory import little_memory
from tests.support.stacks.plain import read_dtype, read_header, read_shape, read_slices
from tests.unit.stages.common.imaging.test_stacks import STACK, save_tiff

MEASURED = {"axes": "ZYX", "PhysicalSizeZ": 5.0, "PhysicalSizeY": 0.9, "PhysicalSizeX": 1.1}
FOUR = STACK[:4]
OME = {"ome": True, "metadata": MEASURED}
IMAGEJ = "ImageJ=1.54f\nimages={0}\nslices={0}\nunit=micron\nspacing=5.0"


def assert_reads(file: Path, expected: NDArray[Any]) -> None:
    """Whole, slice by slice and without its voxels: the same shape, type and values."""
    whole = read_stack(file)
    assert (whole.shape, whole.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(np.stack(list(read_slices(file))), expected)
    assert (read_shape(file), read_dtype(file).newbyteorder("=")) == (expected.shape, expected.dtype)


def refusal(file: Path) -> DataError:
    """The error that every reader raises on `file`."""
    errors = []
    for read in (read_stack, read_header, read_shape, lambda path: list(read_slices(path))):
        with pytest.raises(DataError) as refused:
            read(file)
        errors.append(refused.value)
    assert {error.what for error in errors} == {errors[0].what}
    assert (errors[0].file, bool(errors[0].remedy)) == (file, True)
    return errors[0]


# --- which end of the scale is bright ---


@pytest.mark.parametrize(
    "how",
    [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"byteorder": ">", "metadata": None}, OME],
    ids=["plain", "zlib", "tiled", "big_endian", "ome"],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_white_is_zero_is_inverted(tmp_path: Path, how: dict[str, Any], dtype: str) -> None:
    """PhotometricInterpretation 0: the highest value of the type is black. The header says that it was done."""
    stack = STACK.astype(dtype)
    file = save_tiff(tmp_path / "a.tif", np.iinfo(dtype).max - stack, photometric="miniswhite", **how)
    assert_reads(file, stack)
    header = read_header(file)
    assert header.is_inverted
    assert any("WhiteIsZero" in remark for remark in header.remarks)


def test_black_is_zero_is_left_alone(tmp_path: Path) -> None:
    """Without a remark."""
    header = read_header(save_tiff(tmp_path / "a.tif", STACK))
    assert (header.is_inverted, header.remarks) == (False, ())


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}, {"metadata": None}], ids=["shaped", "zlib", "plain"])
def test_the_rarer_value_of_a_boolean_array_of_tifffile_is_bright(tmp_path: Path, how: dict[str, Any]) -> None:
    """tifffile tags every boolean array as WhiteIsZero, whether it means it or not."""
    vessels = STACK > 150
    file = save_tiff(tmp_path / "a.tif", vessels, **how)
    assert_reads(file, vessels)
    assert not read_header(file).is_inverted
    file = save_tiff(tmp_path / "a.tif", ~vessels, photometric="miniswhite", **how)
    assert_reads(file, vessels)
    assert read_header(file).is_inverted


def test_a_bilevel_file_of_another_program_is_inverted(tmp_path: Path) -> None:
    """Its tag means what the standard says."""
    file = save_tiff(tmp_path / "a.tif", STACK > 100, photometric="miniswhite", software=False, metadata=None)
    assert_reads(file, STACK <= 100)


def test_white_is_zero_means_nothing_for_signed_and_real_values(tmp_path: Path) -> None:
    """The standard defines it for unsigned values."""
    for dtype in ("int16", "float32"):
        assert_reads(save_tiff(tmp_path / "a.tif", STACK.astype(dtype), photometric="miniswhite"), STACK.astype(dtype))


# --- planes that are not there ---


def _imagej(file: Path, **how: Any) -> None:
    tifffile.imwrite(file, FOUR, photometric="minisblack", description=IMAGEJ.format(6), metadata=None, **how)


def _ome(file: Path, planes: str, **how: Any) -> None:
    tifffile.imwrite(file, STACK, **OME)
    xml = tifffile.TiffFile(file).ome_metadata or ""
    assert 'IFD="0" PlaneCount="6"' in xml
    tifffile.imwrite(
        file,
        FOUR,
        photometric="minisblack",
        description=xml.replace('IFD="0" PlaneCount="6"', planes),
        metadata=None,
        **how,
    )


def _shaped(file: Path, **how: Any) -> None:
    tifffile.imwrite(file, FOUR, photometric="minisblack", description='{"shape": [6, 40, 33]}', metadata=None, **how)


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}], ids=["plain", "zlib"])
@pytest.mark.parametrize(
    "make",
    [
        _imagej,
        lambda file, **how: _ome(file, 'IFD="0" PlaneCount="6"', **how),
        lambda file, **how: _ome(file, 'IFD="0" PlaneCount="4"', **how),
        lambda file, **how: _ome(file, "", **how),
    ],
    ids=["imagej", "ome_all_planes", "ome_some_planes", "ome_no_count"],
)
def test_fewer_planes_than_declared_are_refused(tmp_path: Path, make: Callable[..., None], how: dict[str, Any]) -> None:
    """With both numbers; a reader that fills in black slices says nothing."""
    make(tmp_path / "a.ome.tif", **how)
    assert "it declares 6 planes and holds 4" in refusal(tmp_path / "a.ome.tif").what


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}], ids=["plain", "zlib"])
def test_a_description_of_tifffile_that_promises_more_is_refused(tmp_path: Path, how: dict[str, Any]) -> None:
    """As damage."""
    _shaped(tmp_path / "a.tif", **how)
    assert "damaged or cut" in refusal(tmp_path / "a.tif").what


@pytest.mark.parametrize("claim", ['SizeZ="6"', 'PlaneCount="6"'])
def test_a_claim_of_billions_of_planes_takes_no_memory(tmp_path: Path, claim: str) -> None:
    """It is refused before a list of as many is made."""
    file = save_tiff(tmp_path / "a.ome.tif", STACK, **OME)
    xml = tifffile.TiffFile(file).ome_metadata or ""
    assert claim in xml
    tifffile.imwrite(file, STACK, description=xml.replace(claim, claim.replace("6", "3000000000")), metadata=None)
    with little_memory():
        assert "it declares 3,000,000,000 planes and holds 6" in refusal(file).what


def test_a_stack_behind_a_single_page_is_whole(tmp_path: Path) -> None:
    """ImageJ's large stacks have one page, and their slices follow one another."""
    file = save_tiff(tmp_path / "a.tif", STACK, imagej=True, truncate=True, metadata={"axes": "ZYX"})
    assert len(tifffile.TiffFile(file).pages) == 1
    assert_reads(file, STACK)
    content = file.read_bytes()
    file.write_bytes(content[: -2 * STACK[0].size])
    assert "it declares 6 planes and holds 4" in refusal(file).what


@pytest.mark.parametrize("shape", [(1, -1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)], ids=str)
@pytest.mark.parametrize("last", [(), (1,)], ids=str)
@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}], ids=str)
def test_axes_of_one_mean_nothing(
    tmp_path: Path, shape: tuple[int, ...], last: tuple[int, ...], how: dict[str, str]
) -> None:
    """As arrays with a batch or a channel have them."""
    array = STACK.reshape(*shape, *STACK.shape[1:], *last)
    assert_reads(save_tiff(tmp_path / "a.tif", array, **how), STACK)


def test_axes_of_one_hide_no_other_axis(tmp_path: Path) -> None:
    """Two stacks are none, and a single column is no picture of one channel."""
    for array in (np.stack([STACK, STACK])[None], STACK[..., :1]):
        assert "not a stack in z, y, x" in refusal(save_tiff(tmp_path / "a.tif", array)).what


# --- sets of several files ---


def _multi_file(folder: Path, names: tuple[str, str], *, with_root_uuid: bool = True) -> list[Path]:
    uuids = [f"urn:uuid:{number:08d}-0000-0000-0000-000000000000" for number in range(2)]
    planes = "".join(
        f'<TiffData IFD="{z % 3}" FirstZ="{z}" PlaneCount="1"><UUID FileName="{names[z // 3]}">{uuids[z // 3]}</UUID>'
        "</TiffData>"
        for z in range(6)
    )
    for part, name in enumerate(names):
        root = f' UUID="{uuids[part]}"' if with_root_uuid else ""
        description = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{root}>'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="33" SizeY="40" '
            f'SizeZ="6" SizeC="1" SizeT="1">{planes}</Pixels></Image></OME>'
        )
        slices = STACK[3 * part : 3 * part + 3]
        tifffile.imwrite(folder / name, slices, photometric="minisblack", description=description, metadata=None)
    return [folder / name for name in names]


@pytest.mark.parametrize("with_root_uuid", [True, False])
def test_one_file_of_a_set_is_refused_by_the_name_of_the_others(tmp_path: Path, with_root_uuid: bool) -> None:
    """Whether the others are there or not, and what it is called by now."""
    one, two = _multi_file(tmp_path, ("one.ome.tif", "two.ome.tif"), with_root_uuid=with_root_uuid)
    assert "multi-file OME-TIFF; some of its planes are in two.ome.tif" in refusal(one).what
    assert "are in one.ome.tif" in refusal(two).what
    assert "one file" in refusal(one).remedy
    two.unlink()
    assert "are in two.ome.tif" in refusal(one).what
    assert "two.ome.tif" in refusal(one.rename(tmp_path / "image.ome.tif")).what


def test_metadata_in_a_companion_file_are_refused(tmp_path: Path) -> None:
    """Which planes the file holds stands elsewhere."""
    description = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:1"/></OME>'
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, description=description, metadata=None)
    assert "set.companion.ome" in refusal(tmp_path / "a.ome.tif").what


@pytest.mark.parametrize("root", ['UUID="urn:uuid:1"', ""])
def test_a_whole_file_may_be_renamed(tmp_path: Path, root: str) -> None:
    """Its metadata name it as it was called once."""
    description = (
        f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" {root}>'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="33" SizeY="40" SizeZ="6" '
        'SizeC="1" SizeT="1" PhysicalSizeX="1.1" PhysicalSizeY="0.9" PhysicalSizeZ="5">'
        '<TiffData IFD="0" PlaneCount="6"><UUID FileName="former.ome.tif">urn:uuid:1</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, description=description, metadata=None)
    assert_reads(tmp_path / "a.ome.tif", STACK)
    assert read_header(tmp_path / "a.ome.tif").spacing.declared_um == (5.0, 0.9, 1.1)


def test_damaged_metadata_are_damage(tmp_path: Path) -> None:
    """OME-XML that cannot be parsed."""
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, description="<OME><Image></OME>", metadata=None)
    assert "damaged" in refusal(tmp_path / "a.ome.tif").what


# --- pages that differ ---


def _page_by_page(file: Path, compressed: Callable[[int], bool], metadata: Any = None, **how: Any) -> None:
    with tifffile.TiffWriter(file) as writer:
        for z, plane in enumerate(np.concatenate([STACK, STACK])):
            compression = "zlib" if compressed(z) else None
            writer.write(plane, compression=compression, contiguous=False, metadata=metadata, **how)


@pytest.mark.parametrize("metadata", [None, {}], ids=["plain", "shaped"])
@pytest.mark.parametrize(
    "compressed",
    [lambda z: z % 2 == 1, lambda z: z == 3, lambda z: z == 11, lambda z: z > 5, lambda _z: False],
    ids=["every_other", "fourth", "last", "second_half", "none"],
)
def test_pages_of_unlike_compression_are_one_stack(
    tmp_path: Path, compressed: Callable[[int], bool], metadata: Any
) -> None:
    """In the order of the pages, each decoded by its own tags."""
    _page_by_page(tmp_path / "a.tif", compressed, metadata)
    assert_reads(tmp_path / "a.tif", np.concatenate([STACK, STACK]))


def test_each_page_has_its_own_bright_end(tmp_path: Path) -> None:
    """One WhiteIsZero page among others."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for z, plane in enumerate(STACK):
            values, photometric = (255 - plane, "miniswhite") if z == 2 else (plane, "minisblack")
            writer.write(values, photometric=photometric, contiguous=False, metadata=None)
    assert_reads(tmp_path / "a.tif", STACK)
    assert read_header(tmp_path / "a.tif").is_inverted


def test_a_page_of_another_type_is_refused(tmp_path: Path) -> None:
    """With its number: tifffile decodes it by the tags of the first."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for z in range(12):
            plane = STACK[z % 6].astype("uint16" if z == 3 else "uint8")
            writer.write(plane, contiguous=False, metadata=None)
    what = refusal(tmp_path / "a.tif").what
    assert what == "its planes differ: plane 4 is 40 × 33 of uint16, the first 40 × 33 of uint8"


# --- pictures next to the stack ---

LEVELS = [STACK, STACK[:, ::2, ::2], STACK[:, ::4, ::4]]


def _write(file: Path, stacks: list[NDArray[Any]], **how: Any) -> Path:
    with tifffile.TiffWriter(file, ome=file.name.endswith(".ome.tif")) as writer:
        for number, stack in enumerate(stacks):
            axes = "ZYX"[3 - stack.ndim :]
            sizes = {
                f"PhysicalSize{axis}": 10.0 + number if stack is not STACK else MEASURED[f"PhysicalSize{axis}"]
                for axis in axes
            }
            writer.write(stack, photometric="minisblack", metadata={"axes": axes, **sizes}, **how)
    return file


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_levels_of_a_pyramid_do_not_count(tmp_path: Path, name: str, order: tuple[int, ...]) -> None:
    """Half and a quarter of the resolution in plane, in whatever order: the largest is the stack."""
    assert_reads(_write(tmp_path / name, [LEVELS[level] for level in order]), STACK)


@pytest.mark.parametrize("how", [{}, {"metadata": {"axes": "ZYX", "spacing": 5.0, "unit": "um"}}, {"metadata": None}])
@pytest.mark.parametrize("inside", [True, False])
def test_levels_without_names_of_their_axes_do_not_count(tmp_path: Path, how: dict[str, Any], inside: bool) -> None:
    """As SubIFDs or as pages of their own: writers describe the full resolution alone."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(STACK, photometric="minisblack", subifds=2 if inside else None, **how)
        for level in LEVELS[1:]:
            writer.write(level, photometric="minisblack", subfiletype=1)
    assert_reads(tmp_path / "a.tif", STACK)
    assert any("not the 2 coarser level(s)" in remark for remark in read_header(tmp_path / "a.tif").remarks)


@pytest.mark.parametrize(("shape", "axes"), [((-1, 40, 33, 1), "ZYXS"), ((1, -1, 40, 33, 1), "TZYXS")])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_single_sample_per_voxel_is_no_colour(
    tmp_path: Path, shape: tuple[int, ...], axes: str, compression: str | None
) -> None:
    """A last axis of 1, as deep-learning tools keep it."""
    file = tmp_path / "a.tif"
    stack = STACK.reshape(shape)
    tifffile.imwrite(file, stack, photometric="minisblack", metadata={"axes": axes}, compression=compression)
    assert_reads(file, STACK)


def test_a_level_may_be_coarser_along_z(tmp_path: Path) -> None:
    """All three axes halved."""
    assert_reads(_write(tmp_path / "a.ome.tif", [STACK, STACK[::2, ::2, ::2]]), STACK)


@pytest.mark.parametrize("other", [STACK + 1, STACK[:5], STACK[:, :30, :30], STACK[:4, ::2, ::2], STACK[:, ::2]])
def test_two_unlike_stacks_are_refused(tmp_path: Path, other: NDArray[Any]) -> None:
    """Of the same size, or of one that no whole fraction gives."""
    for stacks in ([STACK, other], [other, STACK]):
        assert "it holds 2 stacks" in refusal(_write(tmp_path / "a.ome.tif", stacks)).what


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_an_overview_in_colour_does_not_count(tmp_path: Path, first: bool, planar: bool) -> None:
    """Before the stack or after it, its colours pixel by pixel or in planes; the spacing is the stack's."""
    axes, shape = ("SYX", (3, 20, 30)) if planar else ("YXS", (20, 30, 3))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for is_stack in (not first, first):
            if is_stack:
                writer.write(STACK, photometric="minisblack", metadata=MEASURED)
            else:
                sizes = {f"PhysicalSize{axis}": 40.0 for axis in "ZYX"}
                planarconfig = "separate" if planar else "contig"
                overview = np.zeros(shape, np.uint8)
                writer.write(overview, photometric="rgb", planarconfig=planarconfig, metadata={"axes": axes, **sizes})
    assert_reads(tmp_path / "a.ome.tif", STACK)
    assert read_header(tmp_path / "a.ome.tif").spacing.declared_um == (5.0, 0.9, 1.1)


@pytest.mark.parametrize(
    "pictures",
    [[np.zeros((8, 8), np.uint8)], [np.zeros((8, 8), np.uint8), np.zeros((4, 4), np.uint8)]],
    ids=["macro", "macro_and_label"],
)
@pytest.mark.parametrize("first", [False, True])
def test_a_small_picture_does_not_count(tmp_path: Path, first: bool, pictures: list[NDArray[Any]]) -> None:
    """Neither its voxels nor its spacing."""
    stacks = [*pictures, STACK] if first else [STACK, *pictures]
    file = _write(tmp_path / "a.ome.tif", stacks)
    assert_reads(file, STACK)
    assert read_header(file).spacing.declared_um == (5.0, 0.9, 1.1)


# --- shapes at the edge ---


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True}, {"metadata": None}])
@pytest.mark.parametrize("stack", [STACK[0], STACK[:1]], ids=["yx", "zyx"])
def test_one_page_is_a_stack_of_one_slice(tmp_path: Path, stack: NDArray[Any], how: dict[str, Any]) -> None:
    """As a NIfTI of one slice is; the header says so."""
    file = save_tiff(tmp_path / "a.tif", stack, **how)
    assert_reads(file, STACK[:1])
    assert read_header(file).remarks == ("the file holds a single slice",)
    assert read_header(file).axes[1:] == "YX"


def test_two_pictures_are_no_stack(tmp_path: Path) -> None:
    """Of different sizes: neither is a slice of the other."""
    _write(tmp_path / "a.tif", [STACK[0], STACK[0, :30, :20]])
    assert "it holds 2 stacks" in refusal(tmp_path / "a.tif").what


@pytest.mark.parametrize(
    "how",
    [{}, {"metadata": None}, {"compression": "zlib"}, {"imagej": True, "metadata": {"axes": "ZYX"}}, OME],
    ids=["shaped", "plain", "zlib", "imagej", "ome"],
)
@pytest.mark.parametrize("width", [3, 4])
def test_a_grey_stack_three_voxels_wide_is_not_in_colour(tmp_path: Path, how: dict[str, Any], width: int) -> None:
    """Nor one of four."""
    stack = np.ascontiguousarray(STACK[..., :width])
    assert_reads(save_tiff(tmp_path / "a.tif", stack, photometric="minisblack", **how), stack)


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
def test_samples_within_a_pixel_are_colours(tmp_path: Path, photometric: str) -> None:
    """A picture, and a stack of pictures."""
    for shape in ((40, 33, 3), (5, 40, 33, 3)):
        file = save_tiff(tmp_path / "a.tif", np.zeros(shape, np.uint8), photometric=photometric, planarconfig="contig")
        assert "colour image" in refusal(file).what


# --- channels and time points ---


@pytest.mark.parametrize(
    "how",
    [
        {"imagej": True},
        {"imagej": True, "compression": "zlib"},
        {"ome": True},
        {"ome": True, "tile": (16, 16), "compression": "zlib"},
        {},
    ],
    ids=["imagej", "imagej_zlib", "ome", "ome_tiled", "shaped"],
)
@pytest.mark.parametrize("axes", ["ZCYX", "TZCYX", "CZYX"])
def test_one_channel_of_several_is_read_alone(tmp_path: Path, how: dict[str, Any], axes: str) -> None:
    """Whatever the order of the axes; without a choice the channels are counted."""
    both = np.stack([STACK, STACK[::-1]], axis=axes.removeprefix("T").index("C"))
    if how.get("imagej") and axes == "CZYX":
        axes, both = "ZCYX", both.swapaxes(0, 1)
    whole = both[None] if axes[0] == "T" else both
    file = save_tiff(tmp_path / "a.tif", whole, photometric="minisblack", metadata={"axes": axes}, **how)
    for channel, expected in ((0, STACK), (1, STACK[::-1])):
        np.testing.assert_array_equal(read_stack(file, channel), expected)
        np.testing.assert_array_equal(np.stack(list(read_slices(file, channel))), expected)
        assert read_shape(file, channel) == expected.shape
    assert "it holds 2 channels (0, 1); choose one of them with ingest.channel" in refusal(file).what


@pytest.mark.parametrize("axes", ["TYX", "TZYX"])
def test_several_time_points_are_refused_by_name(tmp_path: Path, axes: str) -> None:
    """Whether or not there are slices, too."""
    stack = STACK if axes == "TYX" else np.stack([STACK] * 6)
    file = save_tiff(tmp_path / "a.tif", stack, photometric="minisblack", imagej=True, metadata={"axes": axes})
    assert "it holds 6 time points" in refusal(file).what


def test_levels_in_sub_directories_are_said(tmp_path: Path) -> None:
    """The full resolution is read, with a remark."""
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        writer.write(STACK, photometric="minisblack", subifds=1, metadata=MEASURED)
        writer.write(STACK[:, ::2, ::2], photometric="minisblack", subfiletype=1)
    assert_reads(tmp_path / "a.ome.tif", STACK)
    assert any("pyramid" in remark for remark in read_header(tmp_path / "a.ome.tif").remarks)
