"""The stack to segment: spacing, voxels on disk, and the networks' grid."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.intensities.normalise import Scale, apply_scale
from stages.common.imaging.reading import open_stack
from stages.common.imaging.recipe import Recipe
from stages.common.imaging.stacks import read_stack
from stages.common.imaging.zyx import PartialSpacing, Spacing
from stages.common.requests.prediction.request import StackRequest
from stages.common.tiling.resampling import target_grid
from stages.common.tiling.volume import DiskVolume
from stages.predict.disk.scratch import Scratch
from stages.predict.reporting import ALOUD
from stages.predict.source import (
    Normalised,
    choose_spacing,
    decode,
    decoded_type,
    planes_above,
    warn_of_older_reading,
)
from stages.predict.steps import survey
from tests.support.stacks.small import STACK, save_nifti, save_tiff
from tests.unit.stages.common.imaging.foreign.written import save_zarr


def _spacing(file: Path, given_um: PartialSpacing | None) -> Spacing:
    with open_stack(file) as stack:
        return choose_spacing(stack, given_um)


def _decoded(file: Path, scratch: Scratch) -> DiskVolume:
    with open_stack(file) as stack:
        return decode(stack, scratch)


def _kept(file: Path) -> np.dtype[Any]:
    with open_stack(file) as stack:
        return decoded_type(stack)


def _warn(file: Path, recipe: Recipe) -> None:
    with open_stack(file) as stack:
        warn_of_older_reading(stack, recipe)


def test_the_spacing_of_the_file_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its source; and with a warning if its unit is not plausible."""
    clear = save_nifti(tmp_path / "clear.nii", STACK, (0.25, 0.5, 2.0), "micron")
    assert _spacing(clear, None) == (2.0, 0.5, 0.25)
    assert capsys.readouterr().out == "voxels of 2 × 0.5 × 0.25 µm (NIfTI sform)\n"
    odd = save_nifti(tmp_path / "odd.nii", STACK, (0.25, 0.5, 2.0), "mm")
    assert _spacing(odd, None) == (2.0, 0.5, 0.25)
    assert "warning: the header's unit is mm" in capsys.readouterr().out


def test_how_the_voxels_are_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a spacing of the file's own and with a given one."""
    file = save_tiff(tmp_path / "a.tif", 255 - STACK, photometric="miniswhite")
    _spacing(file, (5.0, 1.0, 1.0))
    assert "warning: the file stores white as 0 (WhiteIsZero); its values are inverted" in capsys.readouterr().out
    with Scratch(tmp_path / "mask.tif") as scratch:
        np.testing.assert_array_equal(np.stack(list(_decoded(file, scratch))), STACK)


def test_a_given_spacing_counts_more_than_the_file_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An implausible one gives a warning."""
    file = save_nifti(tmp_path / "a.nii", STACK, (0.25, 0.5, 2.0), "micron")
    assert _spacing(file, (5.0, 1.0, 1.0)) == (5.0, 1.0, 1.0)
    assert capsys.readouterr().out == ""
    assert _spacing(file, (5000.0, 1.0, 1.0)) == (5000.0, 1.0, 1.0)
    assert "warning: 5000 × 1 × 1 µm is an unusual spacing" in capsys.readouterr().out


def test_a_spacing_that_may_be_given_as_x_y_z_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unless the file says the same: then it is no slip."""
    plain = save_tiff(tmp_path / "a.tif", STACK)
    assert _spacing(plain, (0.5, 0.5, 2.0)) == (0.5, 0.5, 2.0)
    assert "warning: in the given spacing 0.5 × 0.5 × 2 µm (z × y × x), x alone is coarser" in capsys.readouterr().out
    _spacing(plain, (2.0, 0.5, 0.5))
    _spacing(plain, (0.5, 0.5, 0.5))
    placed = save_nifti(tmp_path / "a.nii", STACK, (2.0, 0.5, 0.5), "micron")
    capsys.readouterr()
    _spacing(placed, (0.5, 0.5, 2.0))
    assert "given spacing" not in capsys.readouterr().out


@pytest.mark.parametrize("size_um", [1e-320, 1e300])
def test_a_spacing_that_no_file_can_hold_is_refused_first(tmp_path: Path, size_um: float) -> None:
    """Not after the prediction, where the mask is to be written."""
    file = save_tiff(tmp_path / "a.tif", STACK)
    with pytest.raises(CapillaryError, match="not a spacing") as caught:
        _spacing(file, (size_um, 1.0, 1.0))
    assert caught.value.code == ExitCode.USAGE


def test_the_file_fills_the_axes_that_a_table_leaves_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As *ingest* does. A file without a spacing cannot."""
    file = save_nifti(tmp_path / "a.nii", STACK, (0.25, 0.5, 2.0), "micron")
    assert _spacing(file, (5.0, None, None)) == (5.0, 0.5, 0.25)
    assert _spacing(file, (None, 0.75, None)) == (2.0, 0.75, 0.25)
    assert capsys.readouterr().out == ""
    with pytest.raises(CapillaryError, match="the spacing of this stack is unknown"):
        _spacing(save_tiff(tmp_path / "a.tif", STACK), (5.0, None, None))


def test_an_unknown_spacing_is_asked_for(tmp_path: Path) -> None:
    """A plain TIFF has no spacing: a usage error that names the option."""
    file = save_tiff(tmp_path / "a.tif", STACK)
    with pytest.raises(CapillaryError, match="the spacing of this stack is unknown: ") as caught:
        _spacing(file, None)
    assert (caught.value.code, caught.value.file) == (ExitCode.USAGE, "a.tif")
    assert "--spacing-um Z,Y,X" in caught.value.remedy
    assert "service's field spacing_um" in caught.value.remedy
    assert _spacing(file, (5.0, 1.0, 1.0)) == (5.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("dtype", "byteorder", "kept"),
    [("uint8", "<", "uint8"), ("uint16", ">", "uint16"), ("float32", ">", "float32"), ("float64", "<", "float64")],
)
def test_the_voxels_are_decoded_to_the_disk(tmp_path: Path, dtype: str, byteorder: str, kept: str) -> None:
    """Every voxel, in native byte order and in the announced type."""
    stack = (STACK.astype(dtype) * 3).astype(dtype)
    file = save_tiff(tmp_path / "a.tif", stack, byteorder=byteorder, metadata=None)
    assert _kept(file) == np.dtype(kept)
    assert _kept(file).isnative
    with Scratch(tmp_path / "mask.tif") as scratch:
        volume = _decoded(file, scratch)
        assert (volume.shape, volume.dtype) == (STACK.shape, np.dtype(kept))
        np.testing.assert_array_equal(np.stack(list(volume)), stack)
    assert [left.name for left in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("z", [0, 5])
def test_a_value_that_is_no_number_is_refused_with_its_slice(tmp_path: Path, value: float, z: int) -> None:
    """The message counts slices from 1."""
    stack = STACK.astype(np.float32)
    stack[z, 3, 4] = value
    file = save_tiff(tmp_path / "a.tif", stack)
    with Scratch(tmp_path / "mask.tif") as scratch, pytest.raises(DataError, match=f"in slice {z + 1}$") as caught:
        _decoded(file, scratch)
    assert caught.value.file == "a.tif"


def test_slices_and_rows_are_normalised_where_they_are_read(tmp_path: Path) -> None:
    """The same values as in the normalised whole volume."""
    scale = Scale(offset=20.0, divisor=120.0, clip=True)
    with DiskVolume(tmp_path / "volume", STACK.shape, np.uint8) as volume:
        source = Normalised(volume=volume.append(iter(STACK)), scale=scale)
        found = source.read(slice(2, 5), slice(7, 30))
    np.testing.assert_array_equal(found, apply_scale(STACK, scale)[2:5, 7:30])


def test_the_grid_is_that_of_the_training() -> None:
    """The native grid without resampling; a grid with an empty axis is an error."""
    native = Recipe(normalisation="none", percentile_low=0, percentile_high=100, resample_to_um=None)
    assert target_grid((9, 40, 37), (4.0, 1.0, 1.0), native) == (9, 40, 37)
    coarse = Recipe(normalisation="none", percentile_low=0, percentile_high=100, resample_to_um=(36.0, 2.0, 1.0))
    assert target_grid((9, 40, 37), (4.0, 1.0, 1.0), coarse) == (1, 20, 37)
    with pytest.raises(DataError, match="this stack has no voxel on an axis") as caught:
        target_grid((9, 40, 37), (0.4, 1.0, 1.0), coarse)
    assert caught.value.value == "9 × 40 × 37 voxels of 0.4 × 1 × 1 µm"


def test_an_older_network_warns_of_what_is_now_read_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a stack that stores white as 0, or other axes first; not of others, and not for a network of now."""
    plain, inverted, turned = tmp_path / "plain.tif", tmp_path / "inverted.tif", tmp_path / "turned.nii.gz"
    tifffile.imwrite(plain, STACK, photometric="minisblack")
    tifffile.imwrite(inverted, STACK, photometric="miniswhite")
    affine = np.array([[0, 0, 1.1, 0], [0, 0.9, 0, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(STACK, affine), turned)
    now = Recipe(normalisation="none", percentile_low=0, percentile_high=100, resample_to_um=None)
    for file, word in ((plain, None), (inverted, "white for black"), (turned, "its axes in another order")):
        _warn(file, now)
        assert capsys.readouterr().out == ""
        _warn(file, replace(now, reading=1))
        said = capsys.readouterr().out
        assert word in said if word else not said


def test_vessel_is_above_the_threshold(tmp_path: Path) -> None:
    """A probability equal to the threshold is background."""
    values = np.array([[[0.0, 0.25, 0.5], [0.5, 0.75, 1.0]]], dtype=np.float32)
    with DiskVolume(tmp_path / "volume", values.shape, np.float32) as volume:
        (plane,) = planes_above(volume.append(iter(values)), 0.5)
    assert plane.tolist() == [[False, False, False], [False, True, True]]


def test_a_volume_that_lost_its_end_is_an_error(tmp_path: Path) -> None:
    """Reading beyond the end of a truncated file raises EOFError."""
    with DiskVolume(tmp_path / "volume", (2, 3, 4), np.uint16) as volume:
        assert volume.bytes == (tmp_path / "volume").stat().st_size == 48
        assert not np.stack(list(volume)).any()
        with (tmp_path / "volume").open("r+b") as file:
            file.truncate(47)
        assert not volume.read(slice(1, 2), slice(0, 2)).any()
        with pytest.raises(EOFError, match="shorter than it was"):
            volume.read(slice(1, 2), slice(2, 3))


def test_a_part_is_written_where_it_belongs(tmp_path: Path) -> None:
    """Writing slices and rows leaves the other voxels unchanged."""
    expected = np.zeros((4, 5, 3), dtype=np.int16)
    block = np.arange(1, 13, dtype=np.int16).reshape(2, 2, 3)
    expected[1:3, 2:4] = block
    with DiskVolume(tmp_path / "volume", expected.shape, np.int16) as volume:
        volume.write(1, 2, block)
        np.testing.assert_array_equal(np.stack(list(volume)), expected)
        np.testing.assert_array_equal(volume.read(slice(1, 4), slice(1, 3)), expected[1:4, 1:3])
    assert not (tmp_path / "volume").exists()


def test_scratch_files_are_hidden_next_to_the_mask(tmp_path: Path) -> None:
    """One hidden file per name, removed at the end, also after an error."""

    def work() -> None:
        with Scratch(tmp_path / "mask.tif") as scratch:
            for name in ("image", "sums"):
                scratch.volume(name, (1, 2, 3), np.uint8)
            assert sorted(file.name for file in tmp_path.iterdir()) == [".mask.tif.image", ".mask.tif.sums"]
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert list(tmp_path.iterdir()) == []


def test_what_is_decoded_is_what_the_whole_reader_gives(tmp_path: Path) -> None:
    """The same voxels for a compressed NIfTI."""
    file = save_nifti(tmp_path / "a.nii.gz", STACK, (1, 1, 2), "micron")
    with Scratch(tmp_path / "mask.tif") as scratch:
        np.testing.assert_array_equal(np.stack(list(_decoded(file, scratch))), read_stack(file))


def test_the_byte_order_does_not_change_the_voxels(tmp_path: Path) -> None:
    """A big-endian TIFF decodes to the same numbers."""
    tifffile.imwrite(tmp_path / "a.tif", STACK.astype(">u2"), byteorder=">")
    with Scratch(tmp_path / "mask.tif") as scratch:
        np.testing.assert_array_equal(np.stack(list(_decoded(tmp_path / "a.tif", scratch))), STACK)


def test_the_level_of_the_training_is_predicted(tmp_path: Path) -> None:
    """Shape and spacing are those of the level that the request names by its spacing."""
    store = save_zarr(tmp_path / "a.ome.zarr", [STACK, STACK[:, ::2, ::2]], spacing=(5.0, 1.0, 1.0))
    for level_um, level, size in ((None, STACK, 1.0), ((5.0, 2.1, 2.1), STACK[:, ::2, ::2], 2.0)):
        place = survey(StackRequest(image=store, mask=tmp_path / "seg.tif", level_um=level_um), ALOUD)
        assert (place.shape_zyx, place.spacing_um) == (level.shape, (5.0, size, size))
