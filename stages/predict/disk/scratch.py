"""Room for this run's volumes on the disk: hidden files next to its out, on the disk that the out needs anyway."""

import shutil
from contextlib import ExitStack
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Self

from numpy.typing import DTypeLike

from stages.common.errors import MachineError
from stages.common.imaging.zyx import Shape
from stages.common.tiling.volume import DiskVolume

FLOAT = 4  # bytes of a probability, of a sum, and of a resampled intensity
MASK = 1
OVERHEAD_BYTES = 2**24  # the picture, and what files hold besides their voxels


def bytes_needed(voxel: int, shape_zyx: Shape, grid_zyx: Shape, ring_zyx: Shape, *, probability: bool) -> int:
    """The most that one run has on the disk at a time: volumes that stay, and the largest of what comes and goes.

    `voxel` is the bytes of one in the decoded image, `grid_zyx` what the networks see, `ring_zyx` what is kept of
    their sums; `probability`: a file of it is wished for. Files written count as if nothing could be compressed.
    """
    image, native, grid = voxel * prod(shape_zyx), FLOAT * prod(shape_zyx), FLOAT * prod(grid_zyx)
    sums = FLOAT * prod(ring_zyx)
    # the mask, the one without small parts, and what is left of it for the user
    written = 3 * MASK * prod(shape_zyx) + (native if probability else 0)
    if grid_zyx == shape_zyx:
        return OVERHEAD_BYTES + image + native + max(sums, written)
    # resampled in the plane, and not yet along z
    there, back = FLOAT * prod((shape_zyx[0], *grid_zyx[1:])), FLOAT * prod((grid_zyx[0], *shape_zyx[1:]))
    return OVERHEAD_BYTES + image + grid + max(there, grid + max(sums, native + max(back, written)))


class Scratch:
    """A context manager: at its end all of its files are removed."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._opened = ExitStack()

    def file(self, name: str) -> Path:
        """A place for a file that its user removes."""
        return self._out.with_name(f".{self._out.name}.{name}")

    def volume(self, name: str, shape_zyx: Shape, dtype: DTypeLike) -> DiskVolume:
        """A volume of zeros that stays until the end."""
        return self._opened.enter_context(DiskVolume(self.file(name), shape_zyx, dtype))

    def refuse_full_disk(self, needed: int) -> None:
        """Raise CapillaryError when there is no room for `needed` bytes."""
        free = shutil.disk_usage(self._out.parent).free
        if needed > free:
            raise MachineError(
                "the disk has too little free space to process this stack",
                remedy="free space on this disk, or run capillary in a project on another one",
                file=self._out.parent.resolve(),
                value=f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free",
            )

    def close(self) -> None:
        """Remove all of its files. May be called again."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()
