"""Random stacks written by tifffile, nibabel, SimpleITK and ome-zarr: values, order of axes and spacing come back."""

import itertools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.common.imaging.spacing import spacing_of
from stages.common.imaging.zyx import Spacing
from tests.support.parts import require
from tests.support.stacks.any_form import read_header, read_stack

few_examples = settings(max_examples=12, deadline=None, derandomize=True)
DTYPES = ("uint8", "uint16", "int16", "float32")
# coarser pixels in mm are taken for µm (docs/stacks.md, Spacing)
sizes_um = st.sampled_from([0.07, 0.5, 0.9, 1.0, 3.25, 49.0])
spacings_um = st.tuples(st.sampled_from([0.2, 1.0, 5.0, 99.0]), sizes_um, sizes_um)
flips = st.tuples(*[st.sampled_from([1.0, -1.0])] * 3)


@st.composite
def stacks(draw: st.DrawFn) -> NDArray[Any]:
    """In z, y, x, over the whole range of their type; a width of 3 or 4 among them, and a single slice."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(2, 9), st.integers(2, 9)))
    dtype, rng = np.dtype(draw(st.sampled_from(DTYPES))), np.random.default_rng(draw(st.integers(0, 99)))
    if dtype.kind == "f":
        return rng.normal(scale=1e4, size=shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, size=shape, dtype=dtype, endpoint=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A new, empty folder for each example."""
    root = tmp_path_factory.mktemp("made")
    numbers = itertools.count()

    def make() -> Path:
        folder = root / str(next(numbers))
        folder.mkdir()
        return folder

    return make


def assert_comes_back(path: Path, stack: NDArray[Any], spacing_um: Spacing) -> None:
    """The same voxels in z, y, x, of the same type, and the spacing."""
    found = read_stack(path)
    assert found.dtype == stack.dtype
    np.testing.assert_array_equal(found, stack)
    assert spacing_of(read_header(path)).spacing_um == pytest.approx(spacing_um, rel=1e-5)


@few_examples
@given(
    stack=stacks(),
    spacing_um=spacings_um,
    byteorder=st.sampled_from("<>"),
    compression=st.sampled_from([None, "zlib", "lzw", "zstd"]),
    tile=st.sampled_from([None, (16, 16)]),
    bigtiff=st.booleans(),
)
def test_ome_tiff_by_tifffile(
    folders: Any,
    stack: NDArray[Any],
    spacing_um: Spacing,
    byteorder: str,
    compression: str | None,
    tile: Any,
    bigtiff: bool,
) -> None:
    """In either byte order, in strips or tiles, packed or not, with offsets of 32 or 64 bits."""
    file = folders() / "a.ome.tif"
    told = {"axes": "ZYX", **{f"PhysicalSize{axis}": size for axis, size in zip("ZYX", spacing_um, strict=True)}}
    how = {"byteorder": byteorder, "compression": compression, "tile": tile, "bigtiff": bigtiff}
    tifffile.imwrite(file, stack, photometric="minisblack", metadata=told, **how)
    assert_comes_back(file, stack, spacing_um)


@few_examples
@given(stack=stacks(), spacing_um=spacings_um)
def test_imagej_tiff_by_tifffile(folders: Any, stack: NDArray[Any], spacing_um: Spacing) -> None:
    """ImageJ has no signed integers, and one byte order."""
    file, (z, y, x) = folders() / "a.tif", spacing_um
    stack = stack.astype(np.float32) if stack.dtype == np.int16 else stack
    told = {"axes": "ZYX", "spacing": z, "unit": "um"}
    tifffile.imwrite(file, stack, imagej=True, resolution=(1 / x, 1 / y), metadata=told)
    assert_comes_back(file, stack, spacing_um)


@few_examples
@given(
    stack=stacks(),
    spacing_um=spacings_um,
    flip=flips,
    version=st.sampled_from([1, 2]),
    endian=st.sampled_from("<>"),
    unit=st.sampled_from(["micron", "mm"]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
)
def test_nifti_by_nibabel(
    folders: Any,
    stack: NDArray[Any],
    spacing_um: Spacing,
    flip: Spacing,
    version: int,
    endian: str,
    unit: str,
    suffix: str,
) -> None:
    """Of both versions, in either byte order, packed or not, along or against the axes of the world."""
    file, nifti = folders() / f"a{suffix}", nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    steps = np.array(spacing_um[::-1]) / (1000 if unit == "mm" else 1)
    header = nifti.header_class(endianness=endian)
    header.set_data_dtype(stack.dtype)
    header.set_xyzt_units(unit)
    image = nifti(stack.T, np.diag([*(steps * flip), 1.0]), header)
    nibabel.save(image, file)
    assert_comes_back(file, stack, spacing_um)


@few_examples
@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr", ".nii", ".nii.gz"])
@given(stack=stacks(), spacing_um=spacings_um, flip=flips, packed=st.booleans())
def test_what_simpleitk_writes(
    folders: Any, suffix: str, stack: NDArray[Any], spacing_um: Spacing, flip: Spacing, packed: bool
) -> None:
    """ITK's own MetaImage, NRRD and NIfTI, whose unit is mm; nothing is turned, whatever the direction."""
    require(find_spec("SimpleITK") is not None, "SimpleITK (PyPI: simpleitk)")
    import SimpleITK

    file, image = folders() / f"a{suffix}", SimpleITK.GetImageFromArray(stack)
    image.SetSpacing([size / 1000 for size in spacing_um[::-1]])
    image.SetDirection(np.diag(flip).ravel().tolist())
    image.SetOrigin([0.5, -2.0, 3.0])
    SimpleITK.WriteImage(image, str(file), packed)
    assert_comes_back(file, stack, spacing_um)


@few_examples
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@given(
    stack=stacks(),
    spacing_um=spacings_um,
    endian=st.sampled_from("<>"),
    levels=st.sampled_from([(), (2,)]),
    unit=st.sampled_from(["micrometer", "nanometer"]),
    outer=st.sampled_from(["", "c", "tc"]),
)
def test_ome_zarr_by_ome_zarr(
    folders: Any,
    version: str,
    stack: NDArray[Any],
    spacing_um: Spacing,
    endian: str,
    levels: tuple[int, ...],
    unit: str,
    outer: str,
) -> None:
    """The finest level of a pyramid, in either byte order, with outer axes of one."""
    require(find_spec("ome_zarr") is not None, "ome-zarr (PyPI)")
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import write_image

    file, factor = folders() / "a.ome.zarr", 1000 if unit == "nanometer" else 1
    write_image(
        stack.astype(stack.dtype.newbyteorder(endian))[(np.newaxis,) * len(outer)],
        str(file),
        scale_factors=levels,
        fmt=format_from_version(version),
        axes=f"{outer}zyx",
        scale={
            **dict.fromkeys(outer, 1.0),
            **{axis: size * factor for axis, size in zip("zyx", spacing_um, strict=True)},
        },
        axes_units=dict.fromkeys("zyx", unit),
    )
    assert_comes_back(file, stack, spacing_um)
