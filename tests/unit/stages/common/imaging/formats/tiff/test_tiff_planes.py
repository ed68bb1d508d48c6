"""Which pages of a TIFF are the stack, and whether all of them are there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from tests.support.memory import little_memory
from tests.support.stacks.plain import read_header
from tests.support.stacks.small import STACK, save_tiff
from tests.unit.stages.common.imaging.formats.tiff.readers import OME, assert_reads, refusal

FOUR = STACK[:4]
IMAGEJ = "ImageJ=1.54f\nimages={0}\nslices={0}\nunit=micron\nspacing=5.0"


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


@pytest.mark.parametrize("how", [{"metadata": None}, {"metadata": {}, "compression": "zlib"}], ids=["plain", "shaped"])
@pytest.mark.parametrize("number", [0, 2, 5])
@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (lambda plane: plane.astype("uint16"), "40 × 33 of uint16"),
        (lambda plane: plane[:, :20], "40 × 20 of uint8"),
        (lambda plane: np.stack([plane] * 3, -1), "40 × 33 × 3 of uint8"),
    ],
    ids=["type", "width", "colour"],
)
def test_a_slice_of_another_kind_is_not_left_out(
    tmp_path: Path, how: dict[str, Any], number: int, odd: Callable[[Any], Any], told: str
) -> None:
    """Wherever it is: the others alone would be a stack of five slices."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for z, plane in enumerate(STACK):
            writer.write(odd(plane) if z == number else plane, contiguous=False, **how)
    what = refusal(tmp_path / "a.tif").what
    assert what.startswith("its planes differ: plane ")
    assert told in what


@pytest.mark.parametrize("form", ["imagej", "ome"])
def test_planes_that_the_metadata_leave_out_are_refused(tmp_path: Path, form: str) -> None:
    """An old count of ImageJ or OME, in a file to which slices were added. A small picture may be left out."""
    xml = tifffile.TiffFile(save_tiff(tmp_path / "a.ome.tif", FOUR, **OME)).ome_metadata or ""
    text = (IMAGEJ.format(4) if form == "imagej" else xml).encode()

    def write(*added: NDArray[Any]) -> Path:
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            for z, plane in enumerate([*FOUR, *added]):
                writer.write(plane, contiguous=False, metadata=None, description=None if z else text)
        return tmp_path / "a.tif"

    assert "its metadata leave out plane 5, which is like its slices" in refusal(write(*STACK[4:])).what
    if form == "ome":
        assert_reads(write(np.zeros((8, 8), np.uint8)), FOUR)


def test_a_page_next_to_a_stack_of_tifffile_is_refused(tmp_path: Path) -> None:
    """It may be a slice or a projection; each call of the writer made a series."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(FOUR, photometric="minisblack")
        writer.write(STACK[4], photometric="minisblack", contiguous=False)
    assert "leave out plane 5, which is like its slices (40 × 33 of uint8)" in refusal(tmp_path / "a.tif").what
