"""TIFF and NIfTI files that are cut, changed or claim too much, and stacks that memory does not hold."""

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

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.stacks import read_stack
from stages.ingest.checks import check_image
from tests.support.memory import little_memory
from tests.support.stacks.plain import read_header
from tests.support.stacks.small import STACK, TIFF_KINDS, save_nifti, save_tiff


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
