"""Voxels that follow a text header, or are in a file next to it: plain, gzip, zlib or bzip2. Of NRRD and MetaImage."""

import bz2
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.formats.channels import Channel, channel_number
from stages.common.imaging.formats.claims import DEFLATE, PLAIN, Claim, Packing, refuse_impossible
from stages.common.imaging.formats.damage import damaged, not_a_stack, shape_text
from stages.common.imaging.formats.geometry import Geometry, doubt_of_order
from stages.common.imaging.formats.header import SINGLE, SpacingEvidence, StackHeader, precise
from stages.common.imaging.formats.inflate import PIECE, Decoder, Inflated, Packed, ZlibDecoder
from stages.common.imaging.formats.opened import OpenStack, check_dtype

_GZIP_OR_ZLIB = 47  # zlib's number for either header
_BZIP2 = Packing(name="bzip2", expansion=1 << 21)
MAX_HEAD_BYTES = 1 << 20
FLAT = SpacingEvidence(numbers_zyx=None, missing="it is a picture of two axes: no distance between slices")

_DECODERS: dict[str, tuple[Packing, Callable[[], Decoder]]] = {
    "deflate": (DEFLATE, lambda: ZlibDecoder(_GZIP_OR_ZLIB)),
    "bzip2": (_BZIP2, bz2.BZ2Decompressor),
}


@dataclass(frozen=True, kw_only=True)
class RawVoxels:
    """Where the voxels are. `sizes` are those of the array, the axis that changes fastest first, with `channels` in
    front of or behind the three of space: `channels_first` where they are in front.

    `packing` is "", "deflate" or "bzip2"; `begin` is the first byte in `file`, None: the voxels are its end.
    """

    header: Path
    file: Path
    begin: int | None
    sizes_xyz: tuple[int, ...]
    dtype: np.dtype[Any]
    packing: str
    channels: int = 1
    channels_first: bool = True

    @property
    def claimed_bytes(self) -> int:
        """Of all voxels, unpacked."""
        return math.prod(self.sizes_xyz) * self.channels * self.dtype.itemsize

    def check(self) -> None:
        """Raise DataError if the file cannot hold the voxels, or they are not numbers."""
        check_dtype(self.dtype, self.header)
        packing = _DECODERS[self.packing][0] if self.packing else PLAIN
        held = self.file.stat().st_size - (self.begin or 0)
        refuse_impossible(Claim(stored_bytes=self.claimed_bytes, held_bytes=max(held, 0), packing=packing), self.header)

    def planes(self, number: int) -> Iterator[NDArray[Any]]:
        """Planes of the array's second and first axis, of channel `number`, one for each step of its third."""
        first, second, third = self.sizes_xyz
        with self.file.open("rb") as stream:
            packed = self._from_begin(stream)
            inner = self.channels if self.channels_first else 1
            size = first * second * inner * self.dtype.itemsize
            if not self.channels_first:
                _pass_over(packed, number * third * size, self.header)
            for _ in range(third):
                data = packed.read(size)
                if len(data) < size:
                    raise damaged(self.header, "its voxels end too early")
                yield np.frombuffer(data, self.dtype).reshape(second, first, inner)[..., number if inner > 1 else 0]
            if self.packing and self.channels_first:  # to the end: the checksum of what is compressed is there
                _refuse_more(packed, self.header)

    def _from_begin(self, stream: IO[bytes]) -> Packed:
        if self.begin is None:
            stream.seek(-self.claimed_bytes, 2)
        else:
            stream.seek(self.begin)
        return Inflated(stream, _DECODERS[self.packing][1], single=True) if self.packing else stream


def _pass_over(packed: Packed, size: int, path: Path) -> None:
    while size > 0:
        piece = packed.read(min(size, PIECE))
        if not piece:
            raise damaged(path, "its voxels end too early")
        size -= len(piece)


def _refuse_more(packed: Packed, path: Path) -> None:
    if packed.read(1):
        raise damaged(path, "it unpacks to more than the voxels that its header claims")


def open_raw(voxels: RawVoxels, geometry: Geometry, evidence: SpacingEvidence, channel: Channel) -> OpenStack:
    """The stack of `channel` in `voxels`, its axes as `geometry` has them."""
    if len(voxels.sizes_xyz) != 3 or 0 in voxels.sizes_xyz:
        text = f"it holds an array of shape {shape_text(voxels.sizes_xyz[::-1])}, not a stack in z, y, x"
        raise not_a_stack(voxels.header, text)
    voxels.check()
    number = channel_number(("",) * voxels.channels, channel, voxels.header)
    axes_zyx = geometry.array_axes_zyx
    z, y, x = (voxels.sizes_xyz[axis] for axis in axes_zyx)
    is_reordered = axes_zyx != (2, 1, 0)
    named = ", ".join("zyx"[axes_zyx.index(axis)] for axis in range(3))
    stored = (f"by its {geometry.source} its array is stored as {named}, not as x, y, z, and is read accordingly",)
    single = (SINGLE,) if z == 1 else ()
    doubt = doubt_of_order(evidence.numbers_zyx[::-1]) if evidence.numbers_zyx and not is_reordered else ""
    return OpenStack(
        path=voxels.header,
        shape_zyx=(z, y, x),
        dtype=voxels.dtype.newbyteorder("="),
        describe=lambda: StackHeader(
            axes="ZYX",
            spacing=evidence,
            is_reordered=is_reordered,
            channels=("",) * voxels.channels,
            remarks=(*(stored if is_reordered else ()), *((doubt,) if doubt else ()), *single),
        ),
        slices=lambda: _slices(voxels, number, axes_zyx),
        at_once=voxels.channels if axes_zyx[0] == 2 else 2 * z * voxels.channels,
        geometry=geometry,
    )


def _slices(voxels: RawVoxels, number: int, axes_zyx: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Slices (yx). Where z is not the array's last axis, all of it is read first."""
    native = voxels.dtype.newbyteorder("=")
    planes = (plane.astype(native) for plane in voxels.planes(number))  # axes 1, 0 of the array
    if axes_zyx[0] == 2:
        yield from (plane if axes_zyx == (2, 1, 0) else plane.T for plane in planes)
        return
    yield from np.stack(list(planes)).transpose([2 - axis for axis in axes_zyx])


def world(
    sizes: tuple[int, ...], directions: NDArray[np.float64], origin: NDArray[np.float64], *, source: str, unit: str
) -> Geometry:
    """The geometry of an array whose axes point along the columns of `directions`, in RAS and `unit`.

    A matrix that gives no room (two axes alike, a length of 0) counts as none.
    """
    lengths = np.linalg.norm(directions, axis=0)
    affine = None
    usable = np.isfinite(directions).all() and np.isfinite(origin).all() and lengths.all()
    if usable and abs(np.linalg.det(directions / lengths)) > 1e-3:
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = directions, origin
    steps = () if affine is None else tuple(map(float, lengths))
    return Geometry(shape=sizes, affine=affine, source=source, pixdim=steps, unit=unit)


def nowhere(
    sizes: tuple[int, ...],
    steps: tuple[float, ...],
    *,
    source: str,
    unit: str,
    axes_zyx: tuple[int, int, int] = (2, 1, 0),
) -> Geometry:
    """The geometry of an array of which nothing is known but its `steps` along its axes, in `unit`, and which of them
    are z, y and x.
    """
    pixdim = tuple(map(precise, steps))
    return Geometry(shape=sizes, affine=None, source=source, pixdim=pixdim, unit=unit, named_axes_zyx=axes_zyx)


def evidence_of(geometry: Geometry, field: str) -> SpacingEvidence:
    """The spacing by `geometry`; 1 × 1 × 1 without a unit is what programs write that know none."""
    steps = geometry.steps or geometry.pixdim
    is_usable = len(steps) == 3 and all(math.isfinite(step) and step > 0 for step in steps)
    if not is_usable or (set(steps) == {1.0} and geometry.unit == "unknown"):
        return SpacingEvidence(numbers_zyx=None, missing=f"its {field} gives no spacing (1 × 1 × 1 without a unit)")
    z, y, x = (steps[axis] for axis in geometry.array_axes_zyx)
    return SpacingEvidence(numbers_zyx=(z, y, x), units_zyx=(geometry.unit,) * 3, source=field)
