"""Stacks in every format that is read besides TIFF and NIfTI, as other programs write them."""

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import nrrd
import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

STACK = np.random.default_rng(7).integers(0, 60_000, size=(6, 10, 9)).astype(np.uint16)
SPACING_UM = (5.0, 0.9, 1.1)


def save_zarr(
    folder: Path,
    levels: Sequence[NDArray[Any]],
    *,
    version: int = 2,
    axes: str = "zyx",
    unit: str | None = "micrometer",
    spacing: Sequence[float] = SPACING_UM,
    labels: Sequence[str] = (),
    **how: Any,
) -> Path:
    """OME-Zarr 0.4 (`version` 2) or 0.5 (3); each level after the first is half as fine in y and x."""
    group = zarr.open_group(folder, mode="w", zarr_format=version)  # type: ignore[arg-type]
    datasets = []
    for number, level in enumerate(levels):
        how = {"chunks": tuple(min(4, size) for size in level.shape)} | how
        array = group.create_array(str(number), shape=level.shape, dtype=level.dtype, **how)
        array[...] = level
        steps = dict(zip("zyx", (spacing[0], *(size * 2**number for size in spacing[1:])), strict=True))
        scale = [steps.get(letter, 1.0) for letter in axes]
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    kinds = {"t": "time", "c": "channel"}
    named: list[dict[str, Any]] = [{"name": letter, "type": kinds.get(letter, "space")} for letter in axes]
    for axis in named:
        if axis["type"] == "space" and unit is not None:
            axis["unit"] = unit
    told: dict[str, Any] = {"multiscales": [{"axes": named, "datasets": datasets, "version": "0.4"}]}
    if labels:
        told["omero"] = {"channels": [{"label": label} for label in labels]}
    group.attrs.update(told if version == 2 else {"ome": {"version": "0.5", **told}})
    return folder


def save_hdf5(file: Path, array: NDArray[Any], place: str = "volume", um: Any = SPACING_UM, **how: Any) -> Path:
    """As n5 and elf write it: the size of a voxel in an attribute."""
    with h5py.File(file, "w") as opened:
        dataset = opened.create_dataset(place, data=array, **how)
        if um is not None:
            dataset.attrs["element_size_um"] = um
    return file


def save_nrrd(file: Path, stack: NDArray[Any], **header: Any) -> Path:
    """By pynrrd, x first, with directions in µm unless `header` says otherwise."""
    z, y, x = SPACING_UM
    told = {"space": "left-posterior-superior", "space directions": np.diag([x, y, z]), "space units": ["um"] * 3}
    told |= {"space origin": np.array([3.0, 4.0, 5.0]), "encoding": "gzip"}
    nrrd.write(str(file), stack.T, {key: value for key, value in (told | header).items() if value is not None})
    return file


def save_meta_image(
    file: Path, stack: NDArray[Any], *, packed: bool = False, data: str = "LOCAL", **fields: Any
) -> Path:
    """As ITK writes it: fields in the order of the format, voxels behind the header or in the file `data`."""
    z, y, x = SPACING_UM
    kinds = {"uint8": "MET_UCHAR", "uint16": "MET_USHORT", "int16": "MET_SHORT", "float32": "MET_FLOAT"}
    content = stack.tobytes()
    content = zlib.compress(content) if packed else content
    told = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": stack.dtype.byteorder == ">",
        "CompressedData": packed,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": f"{x} {y} {z}",
        "DimSize": " ".join(map(str, stack.shape[:3][::-1])),
        "ElementType": kinds[stack.dtype.newbyteorder("=").name],
        **fields,
        "ElementDataFile": data,
    }
    head = "".join(f"{name} = {value}\n" for name, value in told.items() if value is not None).encode()
    file.write_bytes(head + (content if data == "LOCAL" else b""))
    if data != "LOCAL":
        (file.parent / data).write_bytes(content)
    return file


def save_slices(folder: Path, stack: NDArray[Any], name: str = "z{:03d}.tif", first: int = 0) -> Path:
    """One file per slice."""
    folder.mkdir(exist_ok=True)
    for z, plane in enumerate(stack, first):
        tifffile.imwrite(folder / name.format(z), plane)
    return folder


def _png_slices(folder: Path, stack: NDArray[Any]) -> Path:
    import imagecodecs

    folder.mkdir()
    for z, plane in enumerate(stack):
        (folder / f"{z}.png").write_bytes(imagecodecs.png_encode(plane))
    return folder


def _ilastik(file: Path, stack: NDArray[Any]) -> Path:
    """With axis tags, and a channel axis of one."""
    with h5py.File(file, "w") as opened:
        dataset = opened.create_dataset("exported_data", data=stack[..., None], chunks=(3, 4, 4, 1), compression="gzip")
        dataset.attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in "zyxc"]})
    return file


Write = Callable[[Path, NDArray[Any]], Path]
# how a stack is saved → the path under which it is read; those of PRECISE keep their spacing, too
PRECISE: dict[str, Write] = {
    "zarr_2": lambda folder, stack: save_zarr(folder / "a.ome.zarr", [stack]),
    "zarr_3": lambda folder, stack: save_zarr(folder / "a.zarr", [stack], version=3),
    "zarr_pyramid": lambda folder, stack: save_zarr(folder / "a.ome.zarr", [stack, stack[:, ::2, ::2]], version=3),
    "zarr_tczyx": lambda folder, stack: save_zarr(folder / "a.ome.zarr", [stack[None, None]], axes="tczyx"),
    "zarr_sharded": lambda folder, stack: save_zarr(
        folder / "a.ome.zarr", [stack], version=3, chunks=(2, 4, 4), shards=(4, 8, 8)
    ),
    "zarr_plain_chunks": lambda folder, stack: save_zarr(folder / "a.ome.zarr", [stack], compressors=None),
    "zarr_nm": lambda folder, stack: save_zarr(
        folder / "a.zarr", [stack], unit="nanometer", spacing=[1000 * size for size in SPACING_UM]
    ),
    "hdf5": lambda folder, stack: save_hdf5(folder / "a.h5", stack),
    "hdf5_gzip": lambda folder, stack: save_hdf5(folder / "a.hdf5", stack, compression="gzip", chunks=(2, 4, 4)),
    "hdf5_lzf": lambda folder, stack: save_hdf5(folder / "a.h5", stack, compression="lzf", shuffle=True),
    "hdf5_place": lambda folder, stack: Path(f"{save_hdf5(folder / 'a.h5', stack, 'raw/stack')}:/raw/stack"),
    "nrrd_gzip": lambda folder, stack: save_nrrd(folder / "a.nrrd", stack),
    "nrrd_raw": lambda folder, stack: save_nrrd(folder / "a.nrrd", stack, encoding="raw"),
    "nrrd_bzip2": lambda folder, stack: save_nrrd(folder / "a.nrrd", stack, encoding="bzip2"),
    "nrrd_detached": lambda folder, stack: save_nrrd(folder / "a.nhdr", stack),
    "nrrd_spacings": lambda folder, stack: save_nrrd(
        folder / "a.nrrd",
        stack,
        **{"space": None, "space directions": None, "space origin": None, "space units": None},
        spacings=list(SPACING_UM[::-1]),
        units=["um"] * 3,
    ),
    "mha": lambda folder, stack: save_meta_image(folder / "a.mha", stack),
    "mha_packed": lambda folder, stack: save_meta_image(folder / "a.mha", stack, packed=True),
    "mha_big_endian": lambda folder, stack: save_meta_image(
        folder / "a.mha", stack.astype(stack.dtype.newbyteorder(">"))
    ),
    "mhd": lambda folder, stack: save_meta_image(folder / "a.mhd", stack, data="a.raw"),
    "mhd_packed": lambda folder, stack: save_meta_image(folder / "a.mhd", stack, data="a.zraw", packed=True),
}
LOOSE: dict[str, Write] = {
    "zarr_no_unit": lambda folder, stack: save_zarr(folder / "a.zarr", [stack], unit=None),
    "hdf5_ilastik": lambda folder, stack: _ilastik(folder / "a.h5", stack),
    "slices": lambda folder, stack: save_slices(folder / "slices", stack),
    "slices_unpadded": lambda folder, stack: save_slices(folder / "slices", stack, "z{}.TIF", first=8),
    "slices_pattern": lambda folder, stack: save_slices(folder / "slices", stack) / "z*.tif",
    "slices_z": lambda folder, stack: save_slices(folder / "slices", stack, "m1_z{}_c0.tif") / "m1_z{z}_c0.tif",
    "slices_png": lambda folder, stack: _png_slices(folder / "slices", stack),
}
EVERY = PRECISE | LOOSE
