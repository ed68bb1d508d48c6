"""Reading TIFF and NIfTI: every common way of saving a stack, and every way of damaging one."""

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.stacks import binarise, read_stack
from stages.common.imaging.suffixes import suffix_of
from stages.common.imaging.zyx import Spacing
from stages.ingest.checks import check_image
from tests.support.memory import little_memory
from tests.support.stacks.plain import read_header

STACK = np.random.default_rng(7).integers(0, 200, size=(6, 40, 33)).astype(np.uint8)

TIFF_KINDS: dict[str, dict[str, Any]] = {
    "plain": {"metadata": None},
    "shaped": {},
    "zlib": {"compression": "zlib"},
    "lzw": {"compression": "lzw", "metadata": None},
    "packbits": {"compression": "packbits", "metadata": None},
    "tiled": {"tile": (16, 16), "compression": "zlib"},
    "strips": {"rowsperstrip": 5, "compression": "zlib", "metadata": None},
    "bigtiff": {"bigtiff": True, "compression": "zlib"},
    "big_endian": {"byteorder": ">", "metadata": None},
    "ome": {"ome": True},
    "ome_zlib": {"ome": True, "compression": "zlib"},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
}


nifti: Any = nibabel.Nifti1Image  # its methods carry no types


def declared_um(path: Path) -> Spacing | None:
    return read_header(path).spacing.declared_um


def save_tiff(path: Path, stack: NDArray[Any], **how: Any) -> Path:
    tifffile.imwrite(path, stack, **how)
    return path


def save_nifti(path: Path, stack_zyx: NDArray[Any], zooms_xyz: tuple[float, ...], unit: str | None) -> Path:
    image = nifti(stack_zyx.T, np.diag([*zooms_xyz[:3], 1.0]))
    image.header.set_zooms(zooms_xyz)
    if unit is not None:
        image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("how", TIFF_KINDS.values(), ids=TIFF_KINDS)
def test_tiff_reads_back_as_it_was_saved(tmp_path: Path, how: dict[str, Any]) -> None:
    """A TIFF of any common kind gives the same voxels in z, y, x and the same dtype."""
    stack = read_stack(save_tiff(tmp_path / "a.tif", STACK, **how))
    assert stack.dtype == STACK.dtype
    np.testing.assert_array_equal(stack, STACK)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64", "bool"])
def test_tiff_keeps_its_dtype(tmp_path: Path, dtype: str) -> None:
    """The dtype is the file's own."""
    stack = (STACK % 3 // 2).astype(dtype)
    np.testing.assert_array_equal(read_stack(save_tiff(tmp_path / "a.tiff", stack)), stack)


@pytest.mark.parametrize(
    ("described", "spacing_um"),
    [
        ({"unit": "micron", "spacing": 5.0}, (5.0, 0.5, 0.25)),
        ({"unit": "um", "spacing": 5.0}, (5.0, 0.5, 0.25)),
        ({"unit": "\\u00B5m", "spacing": 5.0}, (5.0, 0.5, 0.25)),
        ({"unit": "mm", "spacing": 0.005}, (5.0, 500.0, 250.0)),
        ({"unit": "pixel", "spacing": 5.0}, None),
        ({"spacing": 5.0}, None),
    ],
)
def test_imagej_s_spacing_counts_where_it_is_a_length(
    tmp_path: Path, described: dict[str, Any], spacing_um: tuple[float, float, float] | None
) -> None:
    """Depth of a voxel and pixels a unit; none without a unit of length or without a depth."""
    file = save_tiff(
        tmp_path / "a.tif", STACK, imagej=True, resolution=(4.0, 2.0), metadata={"axes": "ZYX", **described}
    )
    assert declared_um(file) == (pytest.approx(spacing_um) if spacing_um else None)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_is_transposed_to_zyx(tmp_path: Path, name: str) -> None:
    """NIfTI keeps x, y, z; a stack comes out as z, y, x."""
    np.testing.assert_array_equal(read_stack(save_nifti(tmp_path / name, STACK, (1, 1, 2), "mm")), STACK)


def test_nifti_with_a_last_axis_of_one_is_a_stack(tmp_path: Path) -> None:
    """x, y, z, 1 is what several tools write for a single volume."""
    path = save_nifti(tmp_path / "a.nii.gz", STACK[None], (1, 1, 2, 1), "mm")
    np.testing.assert_array_equal(read_stack(path), STACK)


def test_nifti_applies_its_scale(tmp_path: Path) -> None:
    """Slope and intercept (bytes 112 and 116 of a NIfTI-1 header) belong to the values."""
    path = save_nifti(tmp_path / "a.nii", STACK, (1, 1, 2), "mm")
    content = bytearray(path.read_bytes())
    struct.pack_into("<ff", content, 112, 0.5, 10.0)
    path.write_bytes(content)
    np.testing.assert_allclose(read_stack(path), STACK * 0.5 + 10.0)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.tif", ".tif"),
        ("a.b.TIFF", ".tiff"),
        ("a.ome.tif", ".ome.tif"),
        ("a.nii.gz", ".nii.gz"),
        ("a.nii", ".nii"),
        ("a.png", None),
        ("tif", None),
    ],
)
def test_suffix_is_the_whole_one(name: str, suffix: str | None) -> None:
    """Two-part suffixes are kept whole, case does not matter."""
    assert suffix_of(name) == suffix


@pytest.mark.parametrize("how", TIFF_KINDS.values(), ids=TIFF_KINDS)
def test_cut_tiff_never_reads_as_a_stack(tmp_path: Path, how: dict[str, Any]) -> None:
    """Wherever a TIFF is cut, it is refused, or every voxel was before the cut."""
    whole = save_tiff(tmp_path / "whole.tif", STACK, **how).read_bytes()
    cut = tmp_path / "cut.tif"
    for length in np.linspace(1, len(whole) - 1, 60).astype(int):
        cut.write_bytes(whole[:length])
        refused_or_whole(cut)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_cut_nifti_is_refused(tmp_path: Path, name: str) -> None:
    """A NIfTI file that lacks its end, be it the last byte, is refused."""
    whole = save_nifti(tmp_path / name, STACK, (1, 1, 2), "mm").read_bytes()
    cut = tmp_path / f"cut-{name}"
    for length in [*np.linspace(1, len(whole) - 1, 40).astype(int), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError) as refused:
            read_stack(cut)
        assert refused.value.file == cut


def refused_or_whole(path: Path) -> None:
    try:
        np.testing.assert_array_equal(read_stack(path), STACK)
    except DataError as error:
        assert (error.file, bool(error.remedy)) == (path, True)  # noqa: PT017 - either outcome is right here


def test_offset_beyond_any_file_is_damage(tmp_path: Path) -> None:
    """A seek to an impossible place fails in the operating system, and is the file's fault all the same."""
    path = save_tiff(tmp_path / "a.tif", STACK, bigtiff=True, metadata=None)
    content = bytearray(path.read_bytes())
    struct.pack_into("<Q", content, 8, 2**63 - 8)  # where BigTIFF keeps the place of its first page
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_stack(path)


LARGE = (128, 1024, 1024)  # 128 MiB, twice what is left of the memory


def _large_tiff(path: Path) -> None:
    tifffile.memmap(path, shape=LARGE, dtype="uint8", photometric="minisblack")  # a file of its whole size, all holes


def _large_packed_tiff(path: Path) -> None:
    tifffile.imwrite(
        path,
        (np.zeros(LARGE[1:], np.uint8) for _ in range(LARGE[0])),
        shape=LARGE,
        dtype="uint8",
        compression="zlib",
        photometric="minisblack",
    )


def _large_nifti(path: Path) -> None:
    _nifti_head(path)
    with path.open("r+b") as stream:
        stream.truncate(352 + int(np.prod(LARGE)))


def _large_packed_nifti(path: Path) -> None:
    _nifti_head(path.with_suffix(""))
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(path.with_suffix("").read_bytes())
        for _ in range(LARGE[0]):
            stream.write(bytes(LARGE[1] * LARGE[2]))


def _nifti_head(path: Path) -> None:
    """A file that says that it holds a LARGE stack, and ends there."""
    header: Any = nibabel.Nifti1Header()
    header.set_data_shape(LARGE[::-1])
    header.set_data_dtype(np.uint8)
    with path.open("wb") as stream:
        header.write_to(stream)


@pytest.mark.parametrize("read", [read_stack, check_image])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.tif", _large_tiff),
        ("packed.tif", _large_packed_tiff),
        ("a.nii", _large_nifti),
        ("a.nii.gz", _large_packed_nifti),
    ],
)
def test_a_sound_stack_that_memory_does_not_hold_is_not_called_damaged(
    tmp_path: Path, name: str, make: Callable[[Path], None], read: Callable[[Path], Any]
) -> None:
    """The machine is too small: its exit code, the file and its size; never a verdict on the data."""
    make(tmp_path / name)
    with little_memory(), pytest.raises(CapillaryError, match="does not fit into memory") as refused:
        read(tmp_path / name)
    assert refused.value.code == ExitCode.MACHINE
    assert isinstance(refused.value, MemoryError)
    assert refused.value.file == tmp_path / name
    assert re.fullmatch(
        r"0\.1 GB of voxels, 0\.[78] GB with a copy to compute with; \d+\.\d MB are left by the limit of this .*",
        str(refused.value.value),
    )


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_header_that_speaks_of_more_than_the_file_holds_is_damage(tmp_path: Path, name: str) -> None:
    """However little memory there is: such a file is of no use on a larger machine either."""
    _nifti_head(tmp_path / "a.nii")
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    with little_memory(), pytest.raises(DataError, match="damaged"):
        read_stack(tmp_path / name)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from([*TIFF_KINDS, "nii", "nii.gz"]),
    damage=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), min_size=1, max_size=8),
    head_only=st.booleans(),
)
def test_damaged_bytes_never_crash_the_reader(
    tmp_path: Path, kind: str, damage: list[tuple[float, int]], head_only: bool
) -> None:
    """Whatever bytes are changed, reading gives an array of three axes or a DataError, never another exception."""
    suffix = f".{kind}" if kind.startswith("nii") else ".tif"
    path = tmp_path / f"damaged{suffix}"
    if kind.startswith("nii"):
        save_nifti(path, STACK, (1, 1, 2), "mm")
    else:
        save_tiff(path, STACK, **TIFF_KINDS[kind])
    content = bytearray(path.read_bytes())
    reach = min(len(content), 400) if head_only else len(content)
    for place, value in damage:
        content[int(place * reach)] = value
    path.write_bytes(content)
    try:
        assert read_stack(path).ndim == 3
        read_header(path)
    except DataError as error:
        assert error.file == path  # noqa: PT017 - either outcome is right here


def test_changed_byte_in_a_gzip_is_refused(tmp_path: Path) -> None:
    """The checksum at the end of a .gz is read: voxels that changed on the way do not pass."""
    path = save_nifti(tmp_path / "a.nii.gz", STACK, (1, 1, 2), "mm")
    content = bytearray(gzip.decompress(path.read_bytes()))
    packed = bytearray(gzip.compress(bytes(content), compresslevel=0))
    packed[len(packed) // 2] ^= 1
    path.write_bytes(packed)
    with pytest.raises(DataError, match="damaged"):
        read_stack(path)


def _text(path: Path) -> None:
    path.write_text("this is no image\n" * 50)


def _absent(path: Path) -> None:
    assert not path.exists()


def _colour(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((20, 20, 3), np.uint8), photometric="rgb")


def test_grey_stack_of_four_slices_is_not_taken_for_colours(tmp_path: Path) -> None:
    """Four equal planes one after the other are slices, even where the file calls them colour planes."""
    path = save_tiff(tmp_path / "a.tif", STACK[:4], photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_stack(path), STACK[:4])


def _time_series(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((2, 3, 8, 8), np.uint8), metadata={"axes": "TZYX"}, photometric="minisblack")


def _two_stacks(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((5, 8, 8), np.uint8))
        writer.write(np.zeros((6, 9, 9), np.uint8))


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("a.tif", _text, "damaged"),
        ("a.nii", _text, "damaged"),
        ("a.nii.gz", _text, "damaged"),
        ("a.tif", lambda path: path.touch(), "0 bytes"),
        ("a.nii.gz", lambda path: path.touch(), "0 bytes"),
        ("a.tif", lambda path: path.mkdir(), "folder"),
        ("a.tif", _absent, "does not exist"),
        ("a.png", _text, "not that of a TIFF or NIfTI"),
        ("a.nii", lambda path: nifti(STACK[:4].reshape(2, 2, 40, 33).T, np.eye(4)).to_filename(path), "2 × 2|33"),
        ("a.tif", _colour, "colour"),
        ("a.tif", _time_series, "it holds 2 time points"),
        ("a.tif", _two_stacks, "2 stacks"),
    ],
)
def test_what_is_no_stack_is_refused_by_name_and_reason(
    tmp_path: Path, name: str, make: Callable[[Path], None], says: str
) -> None:
    """The error names the file, what is wrong with it and what to do."""
    path = tmp_path / name
    make(path)
    with pytest.raises(DataError, match=says) as refused:
        read_stack(path)
    assert refused.value.file == path
    assert refused.value.remedy


def test_a_nifti_of_two_axes_is_one_slice(tmp_path: Path) -> None:
    """As a TIFF of one page is; it knows no distance between slices."""
    nifti(STACK[0].T, np.eye(4)).to_filename(tmp_path / "a.nii")
    np.testing.assert_array_equal(read_stack(tmp_path / "a.nii"), STACK[:1])
    header = read_header(tmp_path / "a.nii")
    assert (header.remarks, header.spacing.numbers_zyx) == (("the file holds a single slice",), None)


def test_thumbnail_beside_the_stack_does_not_count(tmp_path: Path) -> None:
    """Microscopes store a small picture in the same file."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(STACK)
        writer.write(np.zeros((8, 8), np.uint8))
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif"), STACK)


@pytest.mark.parametrize(
    ("unit", "spacing_um"),
    [("mm", (2000.0, 500.0, 250.0)), ("micron", (2.0, 0.5, 0.25)), ("meter", (2e6, 5e5, 2.5e5)), (None, None)],
)
def test_nifti_spacing_follows_its_unit(
    tmp_path: Path, unit: str | None, spacing_um: tuple[float, float, float] | None
) -> None:
    """xyzt_units decides the factor to µm; without a unit there is no spacing in µm."""
    path = save_nifti(tmp_path / "a.nii.gz", STACK, (0.25, 0.5, 2.0), unit)
    assert declared_um(path) == spacing_um
    assert read_header(path).spacing.numbers_zyx == (2.0, 0.5, 0.25)


def test_ome_spacing_is_converted_to_um(tmp_path: Path) -> None:
    """PhysicalSize with its unit gives µm; OME's default unit is µm."""
    metadata = {"PhysicalSizeZ": 0.002, "PhysicalSizeZUnit": "mm", "PhysicalSizeY": 0.5, "PhysicalSizeX": 250.0}
    metadata |= {"PhysicalSizeXUnit": "nm", "axes": "ZYX"}
    path = save_tiff(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    assert declared_um(path) == pytest.approx((2.0, 0.5, 0.25))


def test_tiff_without_ome_has_no_spacing(tmp_path: Path) -> None:
    """A plain TIFF says nothing about µm."""
    assert declared_um(save_tiff(tmp_path / "a.tif", STACK)) is None


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 255, "uint8"), (0, 254, "uint16"), (False, True, "bool"), (1, 2, "uint8"), (-1, 0, "int16"), (0.0, 1.0, "f4")],
)
def test_two_values_become_zero_and_one(low: float, high: float, dtype: str) -> None:
    """Any two-valued coding: the larger value is foreground."""
    truth = STACK > 100
    label = np.where(truth, high, low).astype(dtype)
    result = binarise(label)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, truth)


@pytest.mark.parametrize("values", [(0,), (255,), (0, 1, 2), (0.0, 1.0, np.nan), tuple(range(20))])
def test_other_than_two_values_are_refused(values: tuple[float, ...]) -> None:
    """A label of one value, three values or NaN is not a label; the error shows the values."""
    with pytest.raises(DataError, match=f"holds {len(values)} value") as refused:
        binarise(np.resize(np.array(values), (2, 5, 7)))
    shown = ", ".join(f"{value:g}" for value in values[:6]) + (", …" if len(values) > 6 else "")
    assert refused.value.value == shown
