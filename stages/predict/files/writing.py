"""The stacks that predict leaves, written slice by slice: ImageJ's TIFF, OME-TIFF, NIfTI or OME-Zarr, by its name."""

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np
import tifffile
from numpy.typing import NDArray

from stages.common.imaging.formats.geometry import Geometry, nifti_affine
from stages.common.imaging.formats.nifti.stack import Nifti, open_nifti
from stages.common.imaging.suffixes import NIFTI_SUFFIXES, ZARR_SUFFIXES, suffix_of
from stages.common.imaging.zyx import Shape, Spacing
from stages.common.program.messages import get_logger
from stages.predict.files.zarr_writing import write_zarr

log = get_logger(__name__)

# what offsets of 32 bits can reach, with room for what a TIFF holds next to its slices
MAX_PLAIN_TIFF_BYTES = 2**32 - 2**25
MAX_NIFTI_1_AXIS = 2**15 - 1  # its sizes have 16 bits
FOREGROUND_IN_TIFF = 255  # white in every viewer
FOREGROUND_IN_NIFTI = 1  # a label map


@dataclass(frozen=True, kw_only=True)
class StackGeometry:
    """Where a stack is: shape (z, y, x), spacing (z, y, x; µm), and the file whose NIfTI header and order of axes are
    kept, if it has them. `world` is where another format (NRRD, MetaImage) says that its voxels are, `start_um` (z, y,
    x) where an OME-Zarr says that its first voxel is.
    """

    shape_zyx: Shape
    spacing_um: Spacing
    source: Path
    world: Geometry | None = None
    start_um: tuple[float, float, float] | None = None

    @property
    def known_world(self) -> Geometry | None:
        """`world`, if it is more than what programs write by default."""
        return self.world if self.world is not None and self.world.has_spacing else None


def write_mask(file: Path, mask: Iterable[NDArray[Any]], place: StackGeometry) -> None:
    """Write the slices of `mask` (yx, boolean or 0 and 1): foreground is 1 in NIfTI, 255 in TIFF and Zarr."""
    foreground = FOREGROUND_IN_NIFTI if _is_nifti(file) else FOREGROUND_IN_TIFF
    _write(file, ((plane > 0) * np.uint8(foreground) for plane in mask), np.dtype(np.uint8), place)


def write_probability(file: Path, probability: Iterable[NDArray[np.float32]], place: StackGeometry) -> None:
    """Write the slices of `probability` (yx), float32."""
    _write(file, iter(probability), np.dtype(np.float32), place)


def _is_nifti(file: Path) -> bool:
    return suffix_of(file.name) in NIFTI_SUFFIXES


def _write(file: Path, slices: Iterator[NDArray[Any]], dtype: np.dtype[Any], place: StackGeometry) -> None:
    if _is_nifti(file):
        _write_nifti(file, slices, dtype, place)
    elif suffix_of(file.name) in ZARR_SUFFIXES:
        write_zarr(file, slices, dtype, place.shape_zyx, place.spacing_um, place.start_um)
    else:
        _write_tiff(file, slices, dtype, place)


def _write_tiff(file: Path, slices: Iterator[NDArray[Any]], dtype: np.dtype[Any], place: StackGeometry) -> None:
    z, y, x = place.spacing_um
    common: dict[str, Any] = {"shape": place.shape_zyx, "dtype": dtype, "photometric": "minisblack"}
    large = int(np.prod(place.shape_zyx)) * dtype.itemsize > MAX_PLAIN_TIFF_BYTES
    if large or suffix_of(file.name) in (".ome.tif", ".ome.tiff"):
        if suffix_of(file.name) in (".tif", ".tiff"):
            log.info(f"{file.name} is too large for ImageJ's TIFF format: it is written as a BigTIFF with OME metadata")
        sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (z, y, x), strict=True)}
        units = {f"PhysicalSize{axis}Unit": "µm" for axis in "ZYX"}
        tifffile.imwrite(
            file,
            slices,
            bigtiff=large,
            ome=True,
            compression="zlib",
            metadata={"axes": "ZYX", **sizes, **units},
            **common,
        )
        return
    depth, height, width = place.shape_zyx
    tifffile.imwrite(
        file,
        slices,
        imagej=True,
        compression="zlib",
        resolution=(1 / x, 1 / y),
        metadata={"axes": "TZCYXS", "spacing": z, "unit": "micron", "loop": False},
        # all axes that ImageJ knows: of fewer, tifffile takes a last one of 1 for samples
        **{**common, "shape": (1, depth, 1, height, width, 1)},
    )


def _write_nifti(file: Path, slices: Iterator[NDArray[Any]], dtype: np.dtype[Any], place: StackGeometry) -> None:
    source = open_nifti(place.source) if _is_nifti(place.source) else None
    axes_zyx = _array_axes_zyx(place, source)
    header = _nifti_header(dtype, place, axes_zyx, source)
    with _open(file) as stream:
        header.write_to(stream)
        stream.write(bytes(int(header.get_data_offset()) - stream.tell()))
        for plane in _planes_of_file(slices, axes_zyx):  # NIfTI's first axis changes fastest
            stream.write(np.asarray(plane, dtype=header.get_data_dtype()).tobytes(order="F"))


def _array_axes_zyx(place: StackGeometry, source: Nifti | None) -> tuple[int, ...]:
    """Which axes of the array are z, y and x in the file to be written: those of the source where it has a world."""
    if source is not None:
        return source.geometry.array_axes_zyx
    return place.known_world.array_axes_zyx if place.known_world else (2, 1, 0)


def _planes_of_file(slices: Iterator[NDArray[Any]], axes_zyx: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Planes of the array's first two axes, one for each step of its last. `slices` are (y, x), one for each z.

    Where z is not the array's last axis, all slices are collected first, as such a source is read whole.
    """
    z_axis, y_axis, x_axis = axes_zyx
    if z_axis == 2:
        yield from (plane.T if x_axis < y_axis else plane for plane in slices)
        return
    volume_zyx = np.stack(list(slices))
    array = volume_zyx.transpose([axes_zyx.index(axis) for axis in range(3)])
    yield from (array[..., last] for last in range(array.shape[2]))


@contextmanager
def _open(file: Path) -> Iterator[IO[bytes]]:
    with file.open("wb") as plain:
        if not file.name.lower().endswith(".gz"):
            yield plain
            return
        # without a name and a time: equal masks are equal files
        with gzip.GzipFile(filename="", mode="wb", fileobj=plain, compresslevel=6, mtime=0) as packed:
            yield packed  # type: ignore[misc]  # an IO[bytes] in all but its type


def _affine_of(place: StackGeometry) -> tuple[NDArray[np.float64], str]:
    """The affine and its unit for a source without a NIfTI header."""
    if place.known_world is not None:
        return nifti_affine(place.known_world)
    affine = np.diag([*place.spacing_um[::-1], 1.0])
    affine[:3, 3] = (place.start_um or (0.0, 0.0, 0.0))[::-1]
    return affine, "micron"


def _nifti_header(dtype: np.dtype[Any], place: StackGeometry, axes_zyx: tuple[int, ...], source: Nifti | None) -> Any:
    """The source's header where it has one: affine, units and orientation are kept as they are."""
    if source is not None:
        loaded = source.image
        is_second = isinstance(loaded, nibabel.Nifti2Image)
        kind: Any = nibabel.Nifti2Header if is_second else nibabel.Nifti1Header
        header = kind.from_header(loaded.header)
        if not isinstance(loaded, (nibabel.Nifti1Image, nibabel.Nifti2Image)):
            header.set_sform(loaded.affine, code="aligned")  # such as Analyze, whose header has no affine
    else:
        fresh: Any = nibabel.Nifti2Header if max(place.shape_zyx) > MAX_NIFTI_1_AXIS else nibabel.Nifti1Header
        header = fresh()
        affine, unit = _affine_of(place)
        header.set_data_shape(place.shape_zyx[::-1])
        header.set_sform(affine, code="scanner")
        header.set_qform(affine, code="scanner")
        header.set_xyzt_units(unit)
    header.set_data_dtype(dtype)
    header.set_data_shape([place.shape_zyx[axes_zyx.index(axis)] for axis in range(3)])
    header.set_slope_inter(1, 0)
    header["cal_max"] = header["cal_min"] = 0  # the display range of the image, not of its mask
    return header
