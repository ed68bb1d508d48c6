"""Small copies of stack and mask for the page: 8 bit, at most 256 voxels along an axis."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.zyx import Shape, Spacing

MOST_VOXELS = 256
DARK, BRIGHT = 0.5, 99.8  # percentiles that become black and white


class Volume(Protocol):
    """Planes that are read when they are asked for."""

    @property
    def shape(self) -> Shape:
        """z, y, x."""

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Each plane (yx)."""


Planes = Iterable[NDArray[Any]]  # yx, from the first to the last z


def write_view(stack_file: Path, mask_file: Path, stack: Volume, mask: Volume, spacing_um: Spacing) -> None:
    """Write both, read plane by plane. A thinned-out mask keeps every vessel: it takes the largest value."""
    steps = _steps(stack.shape)
    planes = [plane[:: steps[1], :: steps[2]] for z, plane in enumerate(stack) if z % steps[0] == 0]
    _save(stack_file, _as_bytes(np.stack(planes)), spacing_um, steps)
    _save(mask_file, _largest(mask, steps), spacing_um, steps)


def _steps(shape: Shape) -> Shape:
    """Every how many voxels one is kept, z, y, x."""
    z, y, x = (-(-size // MOST_VOXELS) for size in shape)
    return z, y, x


def _as_bytes(stack: NDArray[Any]) -> NDArray[np.uint8]:
    values = stack.astype(np.float32)
    low, high = np.percentile(values, (DARK, BRIGHT))
    scaled: NDArray[np.uint8] = np.clip((values - low) / max(float(high - low), 1e-6) * 255, 0, 255).astype(np.uint8)
    return scaled


def _largest(mask: Planes, steps: Shape) -> NDArray[np.uint8]:
    slabs: list[NDArray[np.uint8]] = []
    for z, plane in enumerate(mask):
        rows = np.maximum.reduceat(plane, range(0, plane.shape[0], steps[1]), axis=0)
        small = (np.maximum.reduceat(rows, range(0, plane.shape[1], steps[2]), axis=1) > 0).astype(np.uint8)
        if z % steps[0] == 0:
            slabs.append(small)
        else:
            np.maximum(slabs[-1], small, out=slabs[-1])
    return np.stack(slabs)


def _save(file: Path, volume: NDArray[np.uint8], spacing_um: Spacing, steps: Shape) -> None:
    """As NIfTI, x first; one unit is a µm, so that distances are in proportion."""
    z, y, x = (size * step for size, step in zip(spacing_um, steps, strict=True))
    image: Any = nibabel.Nifti1Image(volume.transpose(2, 1, 0)[:, ::-1], np.diag([x, y, z, 1.0]))  # type: ignore[no-untyped-call]
    nibabel.save(image, file)
