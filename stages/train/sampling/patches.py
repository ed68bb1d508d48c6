"""Patches: where to cut them, balanced on foreground, and cutting them from memory-mapped volumes."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.volumes import Volume
from stages.common.imaging.zyx import Shape
from stages.train.sampling.draws import Purpose, generator

# a patch covers thousands of voxels: more centres a volume than this would add memory (8 bytes each), not variety
CENTRES_PER_VOLUME = 20_000

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class PatchPlace:
    """A patch of volume number `volume`; `start_zyx` is negative along an axis where the volume is padded."""

    volume: int
    start_zyx: Shape


@dataclass(frozen=True, kw_only=True)
class Foreground:
    """Vessel voxels that a patch may be centred on: flat indices into each volume, at most CENTRES_PER_VOLUME each.

    `labelled` are voxels that a patch elsewhere is centred on; None if all are labelled, and it may be anywhere.
    """

    shapes_zyx: tuple[Shape, ...]
    flat_indices: tuple[NDArray[np.int64], ...]
    labelled: tuple[NDArray[np.int64] | None, ...] = ()

    def __post_init__(self) -> None:
        """One entry a volume."""
        if not self.labelled:
            object.__setattr__(self, "labelled", (None,) * len(self.shapes_zyx))


def index_foreground(volumes: list[Volume], seed: int) -> Foreground:
    """One pass over the labels. Memory stays bounded by CENTRES_PER_VOLUME and by one volume's foreground."""
    return Foreground(
        shapes_zyx=tuple(volume.shape_zyx for volume in volumes),
        flat_indices=tuple(_centres(volume.label(), seed, number) for number, volume in enumerate(volumes)),
        labelled=tuple(_labelled_centres(volume.labelled(), seed, number) for number, volume in enumerate(volumes)),
    )


def draw_patch(
    rng: np.random.Generator, foreground: Foreground, patch_voxels: Shape, foreground_share: float
) -> PatchPlace:
    """A volume, each equally likely, and a place in it: with probability `foreground_share` centred on a vessel voxel.

    Near a border the patch is moved inside, so its vessel voxel is off the centre there. A volume without foreground
    gives a patch anywhere. Where a part of the volume is labelled, anywhere means about one of its labelled voxels: no
    patch is drawn that a loss could learn nothing from.
    """
    number = int(rng.integers(len(foreground.shapes_zyx)))
    shape, centres = foreground.shapes_zyx[number], foreground.flat_indices[number]
    room = [size - patch for size, patch in zip(shape, patch_voxels, strict=True)]
    on_vessel = rng.random() < foreground_share
    if not (on_vessel and len(centres)) and (labelled := foreground.labelled[number]) is not None:
        on_vessel, centres = True, labelled
    if on_vessel and len(centres):
        centre = np.unravel_index(int(centres[rng.integers(len(centres))]), shape)
        start = [int(middle) - patch // 2 for middle, patch in zip(centre, patch_voxels, strict=True)]
    else:
        start = [int(rng.integers(max(free, 0) + 1)) for free in room]
    z, y, x = (_inside(first, free) for first, free in zip(start, room, strict=True))
    return PatchPlace(volume=number, start_zyx=(z, y, x))


def cut(volume_zyx: NDArray[Scalar], start_zyx: Shape, patch_voxels: Shape) -> NDArray[Scalar]:
    """A copy of the patch; the volume's border is repeated where the patch is outside (as inference pads)."""
    inner, padding = [], []
    for start, patch, size in zip(start_zyx, patch_voxels, volume_zyx.shape, strict=True):
        inner.append(slice(max(start, 0), min(start + patch, size)))
        padding.append((max(-start, 0), max(start + patch - size, 0)))
    inside = volume_zyx[tuple(inner)]
    # most patches need no padding, and np.pad takes longer than the copy
    return np.pad(inside, padding, mode="edge") if any(map(any, padding)) else np.array(inside)


def _centres(label_zyx: NDArray[np.uint8], seed: int, number: int) -> NDArray[np.int64]:
    indices = np.flatnonzero(label_zyx)
    if len(indices) <= CENTRES_PER_VOLUME:
        return indices
    rng = generator(seed, 0, number, Purpose.FOREGROUND_INDEX)
    return np.sort(rng.choice(indices, CENTRES_PER_VOLUME, replace=False))


def _labelled_centres(labelled_zyx: NDArray[np.uint8] | None, seed: int, number: int) -> NDArray[np.int64] | None:
    """Slice by slice: most of a volume may be labelled, and its indices would take eight times its memory."""
    if labelled_zyx is None:
        return None
    counts = np.array([np.count_nonzero(plane) for plane in labelled_zyx])
    ends = np.cumsum(counts)
    rng = generator(seed, 0, number, Purpose.LABELLED_INDEX)
    size = min(int(ends[-1]), CENTRES_PER_VOLUME)
    chosen = np.sort(rng.choice(int(ends[-1]), size, replace=False, shuffle=False))
    parts = []
    for z in np.flatnonzero(counts):
        inside = chosen[(chosen >= ends[z] - counts[z]) & (chosen < ends[z])] - (ends[z] - counts[z])
        parts.append(np.flatnonzero(labelled_zyx[z])[inside] + z * labelled_zyx[z].size)
    return np.concatenate(parts)


def _inside(start: int, room: int) -> int:
    """`start` within [0, room]; where the volume is smaller than the patch (room < 0), the volume in the middle."""
    return -((-room) // 2) if room < 0 else min(max(start, 0), room)
