"""Homotopy warping: bring one mask as near to another as its own topology allows.

Hu 2022, "Structure-Aware Image Segmentation with Homotopy Warping" (NeurIPS). Voxels in which two masks differ are
flipped in the one, as long as they are simple points of it, nearest to its boundary first: shrinking by the distance to
its background, growing by the distance to its vessels. What still differs when no simple point is left is *critical*:
it cannot be put right without joining or parting vessels, or closing or opening a loop or a cavity.

Simple points of one pass are flipped together where that is the same as one after the other: two voxels of one of the
eight subfields (the parities of z, y and x) are never neighbours, so that no flip changes the other's neighbourhood.
A layer of distances is one voxel deep; within a layer the subfields take turns. Passes are repeated, over the
surroundings of what was flipped in the last one, until nothing is simple any more.

Beyond the patch is background. As with the published algorithm, which voxels of a critical place remain can depend on
the order of voxels that are equally far from the boundary; that the topology stays does not.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.common.imaging.masks.simple_points import are_simple, codes_at, neighbour_steps
from stages.train.losses.geometry.distance import distance_to_background

# farther voxels are flipped in no particular order: a vessel that wide, or missing that far off, is wrong anyway
FURTHEST_VOXELS = 15
SUBFIELDS = 8

Places = NDArray[np.int64]


@torch.no_grad()
def critical_voxels(first: Tensor, second: Tensor, unknown: Tensor | None = None) -> Tensor:
    """Where the masks differ after `first` was warped to `second` or `second` to `first`: (B, 1, z, y, x), all bool.

    `unknown` voxels are background in both masks, and no distance ends there.
    """
    masks, targets = torch.cat([first, second]), torch.cat([second, first])
    depth: NDArray[np.uint8] = boundary_distance(masks, unknown)[:, 0].cpu().numpy()
    before: NDArray[np.bool_] = masks[:, 0].cpu().numpy()
    wanted: NDArray[np.bool_] = targets[:, 0].cpu().numpy()
    different = torch.from_numpy(warped(before, wanted, depth) ^ wanted)[:, None]
    return different[: len(first)].logical_or(different[len(first) :]).to(first.device)


def boundary_distance(masks: Tensor, unknown: Tensor | None = None) -> Tensor:
    """Distance in voxels to the nearest voxel of the other kind, from vessel and from background alike, rounded down.

    (B, 1, z, y, x) bool → uint8, at most FURTHEST_VOXELS; what is beyond the patch is unknown.
    """
    inner = masks if unknown is None else masks | torch.cat([unknown, unknown])
    distance = distance_to_background(torch.cat([inner, ~masks]), FURTHEST_VOXELS)
    inside, outside = distance[: len(masks)], distance[len(masks) :]
    return (inside + outside).to(torch.uint8)


def warped(masks: NDArray[np.bool_], targets: NDArray[np.bool_], depth_voxels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """`masks` with simple points flipped towards `targets`, in the order of `depth_voxels`; all (N, z, y, x).

    Homotopy equivalent to `masks`, and no voxel in which it differs from `targets` is simple.
    """
    padded = _with_rim(masks)
    different = np.flatnonzero(_with_rim(masks ^ targets))
    # as published: first shrink, then grow, each from the boundary inwards or outwards
    grows = padded.reshape(-1)[different] == 0
    layer = _with_rim(depth_voxels).reshape(-1)[different] + grows * (FURTHEST_VOXELS + 1)
    turn = layer * SUBFIELDS + _subfield(different, padded.shape)
    _flip_simple_points(padded.reshape(-1), different, turn, neighbour_steps(padded.shape[1:]))
    inner: NDArray[np.bool_] = padded[:, 1:-1, 1:-1, 1:-1].view(np.bool_)
    return inner


def _with_rim(volumes: NDArray[np.bool_] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy with one voxel of background about each volume, rows in C order."""
    count, *shape = volumes.shape
    padded = np.zeros((count, *(size + 2 for size in shape)), np.uint8)
    padded[:, 1:-1, 1:-1, 1:-1] = volumes
    return padded


def _flip_simple_points(mask: NDArray[np.uint8], places: Places, turn: Places, steps: Places) -> None:
    """Flip in place, in the order of `turn`, until no one of `places` is simple; each is flipped at most once."""
    by_turn = np.argsort(turn, kind="stable")
    places, turn = places[by_turn], turn[by_turn]
    left = np.ones(len(places), np.bool_)
    due = np.arange(len(places))
    while len(due):
        near_flip = np.zeros(mask.shape, np.bool_)
        for run in _runs(turn[due]):
            group = due[run]
            flipped = group[are_simple(codes_at(mask, places[group], steps))]
            mask[places[flipped]] ^= 1
            near_flip[places[flipped][:, None] + steps] = True
            left[flipped] = False
        # the others' neighbourhoods are what they were when they were looked at
        due = np.flatnonzero(left & near_flip[places])


def _runs(turn: Places) -> Iterator[slice]:
    """The stretches of equal values."""
    ends = np.flatnonzero(np.diff(turn, append=-1)) + 1
    start = 0
    for end in ends.tolist():
        yield slice(start, end)
        start = end


def _subfield(places: Places, shape: tuple[int, ...]) -> Places:
    _, z, y, x = np.unravel_index(places, shape)
    parity: Places = (z % 2) * 4 + (y % 2) * 2 + x % 2
    return parity
