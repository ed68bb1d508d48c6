"""Arrays whose axes have no names, made-up names, names in an unusual place, or a length of 1."""

from pathlib import Path

import h5py
import nrrd
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from zarr.codecs import GzipCodec, ShardingCodec

from stages.common.errors import DataError
from tests.support.stacks.any_form import read_header, read_shape, read_stack

VOXELS = np.random.default_rng(3).integers(0, 255, (4, 6, 5)).astype(np.uint8)


@pytest.mark.parametrize("names", [None, ("dim_0", "dim_1", "dim_2"), ("z", "y", "x")])
def test_made_up_names_of_zarr_say_nothing(tmp_path: Path, names: tuple[str, ...] | None) -> None:
    """As xarray writes them by default."""
    zarr.create_array(tmp_path / "a.zarr", data=VOXELS, chunks=(4, 6, 5), dimension_names=names)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr"), VOXELS)


@pytest.mark.parametrize("names", [None, ["dim_0", "dim_1", "dim_2"], ["x", "y", "z"]])
def test_names_that_xarray_gives_the_axes_of_zarr_2_count(tmp_path: Path, names: list[str] | None) -> None:
    """Version 2 has no field for them: xarray writes them into an attribute."""
    is_turned = names is not None and names[0] == "x"
    stored = VOXELS.T if is_turned else VOXELS
    array = zarr.create_array(tmp_path / "a.zarr", data=stored, chunks=stored.shape, zarr_format=2)
    if names:
        array.attrs["_ARRAY_DIMENSIONS"] = names
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr"), VOXELS)


@pytest.mark.parametrize("names", [("phony_dim_0", "phony_dim_1", "phony_dim_2"), ("x", "y", "z")])
def test_names_that_netcdf_gives_the_axes_of_hdf5_count(tmp_path: Path, names: tuple[str, ...]) -> None:
    """A scale per axis, whose own label says nothing."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = VOXELS.T if names[0] == "x" else VOXELS
        for axis, name in enumerate(names):
            file[name] = np.arange(file["raw"].shape[axis])
            file[name].make_scale("This is a netCDF dimension but not a netCDF variable")
            file["raw"].dims[axis].attach_scale(file[name])
    np.testing.assert_array_equal(read_stack(tmp_path / "a.h5"), VOXELS)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_an_axis_of_1_of_nrrd_is_passed_over(tmp_path: Path, place: int) -> None:
    file = tmp_path / "a.nrrd"
    nrrd.write(str(file), np.expand_dims(VOXELS.transpose(2, 1, 0), place))
    assert read_shape(file) == VOXELS.shape
    np.testing.assert_array_equal(read_stack(file), VOXELS)


def test_an_array_of_hdf5_without_values_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = h5py.Empty("f4")
    with pytest.raises(DataError, match="/raw holds no values"):
        read_shape(Path(f"{tmp_path}/a.h5:/raw"))


WORDS = [("width", "height", "depth"), ("column", "rows", "planes"), ("x_um", "Y", "z0")]


def _hdf5(file: Path, voxels: NDArray[np.uint8], names: tuple[str, ...]) -> Path:
    with h5py.File(file, "w") as opened:
        opened["raw"] = voxels
        for axis, name in enumerate(names):
            opened["raw"].dims[axis].label = name
    return file


@pytest.mark.parametrize("names", WORDS)
def test_other_words_for_the_axes_count(tmp_path: Path, names: tuple[str, ...]) -> None:
    """An array whose first axis is its width was read with x as z."""
    zarr.create_array(tmp_path / "a.zarr", data=VOXELS.T, chunks=(5, 6, 4), dimension_names=names)
    for file in (tmp_path / "a.zarr", _hdf5(tmp_path / "a.h5", VOXELS.T, names)):
        np.testing.assert_array_equal(read_stack(file), VOXELS)
        assert not read_header(file).remarks


def test_names_that_are_not_understood_are_shown(tmp_path: Path) -> None:
    """The axes are taken in their order then."""
    names = ("foo", "y", "bar")
    zarr.create_array(tmp_path / "a.zarr", data=VOXELS, chunks=(4, 6, 5), dimension_names=names)
    for file in (tmp_path / "a.zarr", _hdf5(tmp_path / "a.h5", VOXELS, names)):
        np.testing.assert_array_equal(read_stack(file), VOXELS)
        (remark,) = read_header(file).remarks
        assert remark.startswith("its axes are called foo, y, bar, of which not all are known")


@pytest.mark.parametrize("shape", [(4, 6, 5, 1), (1, 4, 6, 5, 1)])
def test_a_last_axis_of_1_is_passed_over(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """As in a TIFF."""
    zarr.create_array(tmp_path / "a.zarr", data=VOXELS.reshape(shape), chunks=shape)
    for file in (tmp_path / "a.zarr", _hdf5(tmp_path / "a.h5", VOXELS.reshape(shape), ())):
        np.testing.assert_array_equal(read_stack(file), VOXELS)


def test_two_names_of_one_array_are_one(tmp_path: Path) -> None:
    """Hard links in an HDF5 file."""
    with h5py.File(_hdf5(tmp_path / "a.h5", VOXELS, ()), "a") as file:
        file["again"] = file["raw"]
    np.testing.assert_array_equal(read_stack(tmp_path / "a.h5"), VOXELS)


def test_shards_that_are_packed_themselves_are_named(tmp_path: Path) -> None:
    """They have no index that can be read, and are not damaged."""
    shards = ShardingCodec(chunk_shape=(2, 3, 5))
    zarr.create_array(tmp_path / "a.zarr", data=VOXELS, chunks=(4, 6, 5), serializer=shards, compressors=[GzipCodec()])
    with pytest.raises(DataError, match="its shards are packed once more, by gzip"):
        read_stack(tmp_path / "a.zarr")
