"""Room for this run's volumes on the disk: hidden files beside its out, on the disk that the out needs anyway."""

import shutil
from contextlib import ExitStack
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Self

from numpy.typing import DTypeLike

from stages.common.errors import CapillaryError, ExitCode
from stages.predict.disk.volume import DiskVolume, Shape


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

    def refuse_full_disk(self, shape_zyx: Shape, grid_zyx: Shape) -> None:
        """Raise CapillaryError when there is no room for image, probability, masks, and the resampled ones of them."""
        resampled = 0 if grid_zyx == shape_zyx else 2 * 4 * (prod(grid_zyx) + prod(shape_zyx))
        needed = prod(shape_zyx) * (4 + 4 + 2) + resampled
        free = shutil.disk_usage(self._out.parent).free
        if needed > free:
            raise CapillaryError(
                "the disk has no room for the work on this stack",
                remedy="free space on this disk, or run capillary in a project on another one",
                code=ExitCode.MACHINE,
                file=self._out.parent.resolve(),
                value=f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()
