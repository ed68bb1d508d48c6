"""Validation while training: the Dice coefficient on a bounded number of tiles of the validation volumes.

A watch on the training, not its result: that is evaluate's, on whole volumes with overlapping patches. So it is made
cheap. The volumes are cut into tiles of a patch's size that do not overlap; how many of them are looked at follows from
the params alone, in proportion to the patches that are trained on between two validations. A forward pass takes a third
of a step, so validation takes some 7 % of a training, whatever the size of the volumes is and however often it comes.
The tiles are drawn once from the seed: the same ones in each validation, all of them where they are few.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from stages.common.imaging.volumes import Volume
from stages.common.imaging.zyx import Shape
from stages.train.distributed.ranks import ALONE, Ranks
from stages.train.params import TrainingParams
from stages.train.sampling.draws import Purpose, generator
from stages.train.sampling.patches import cut

Item = TypeVar("Item")

# tiles looked at for each patch that was trained on since the last validation
SHARE = 0.2
# however short the training: fewer would say nothing
FEWEST_TILES = 4


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A patch of volume number `volume`; `inner` is what it alone covers, from `start_zyx` on."""

    volume: int
    start_zyx: Shape
    inner: tuple[slice, slice, slice]

    def inside(self, array_zyx: NDArray[np.uint8], patch_voxels: Shape) -> NDArray[np.uint8]:
        """What of a volume's array the tile alone covers."""
        return cut(array_zyx, self.start_zyx, patch_voxels)[self.inner]


def plan_tiles(
    shapes_zyx: list[Shape], params: TrainingParams, labelled: Sequence[NDArray[np.uint8] | None] = ()
) -> list[Tile]:
    """The tiles of every validation of a training on volumes of `shapes_zyx`, volumes in turn, one tile each.

    `labelled` has the labelled voxels of each volume, None if all are: a tile without any of them is left out.
    """
    count = max(FEWEST_TILES, round(SHARE * params.validation_interval * params.steps_per_epoch * params.batch_size))

    def labelled_tiles(number: int, shape: Shape) -> list[Tile]:
        known = labelled[number] if labelled else None
        tiles = tiles_of(number, shape, params.patch_voxels)
        return [tile for tile in tiles if known is None or tile.inside(known, params.patch_voxels).any()]

    every = [
        (turn, number, tile)
        for number, shape in enumerate(shapes_zyx)
        for turn, tile in enumerate(_shuffled(labelled_tiles(number, shape), params.seed, number))
    ]
    # where not even each volume gets a tile, those that do are drawn, too
    order = _shuffled(list(range(len(shapes_zyx))), params.seed, len(shapes_zyx))
    every.sort(key=lambda drawn: (drawn[0], order.index(drawn[1])))
    return [tile for _, _, tile in every[:count]]


def tiles_of_volumes(volumes: list[Volume], params: TrainingParams) -> list[Tile]:
    """`plan_tiles` of what is labelled in `volumes`."""
    return plan_tiles([volume.shape_zyx for volume in volumes], params, [volume.labelled() for volume in volumes])


def tiles_of(number: int, shape_zyx: Shape, patch_voxels: Shape) -> list[Tile]:
    """Tiles whose inner parts cover volume `number` once; a volume smaller than the patch is in its middle."""
    z, y, x = (_steps(size, patch) for size, patch in zip(shape_zyx, patch_voxels, strict=True))
    return [
        Tile(volume=number, start_zyx=(z_start, y_start, x_start), inner=(z_inner, y_inner, x_inner))
        for z_start, z_inner in z
        for y_start, y_inner in y
        for x_start, x_inner in x
    ]


def validation_dsc(
    network: torch.nn.Module,
    volumes: list[Volume],
    tiles: list[Tile],
    params: TrainingParams,
    autocast_dtype: torch.dtype | None,
    between_tiles: Callable[[], None],
    ranks: Ranks = ALONE,
) -> float:
    """Mean Dice over the volumes of which `tiles` shows something. `between_tiles` may raise to stop.

    The `ranks` share the tiles. Voxels are counted, so the score does not depend on who counts them.
    """
    device = next(network.parameters()).device
    counts = torch.zeros(len(volumes), 2, dtype=torch.int64)  # overlap, predicted + true
    network.eval()
    for first in range(0, len(tiles), ranks.size):
        between_tiles()  # as often on each rank
        if first + ranks.rank < len(tiles):
            tile = tiles[first + ranks.rank]
            counts[tile.volume] += _count(network, volumes[tile.volume], tile, params, autocast_dtype, device)
    ranks.add_up([counts])
    shown = sorted({tile.volume for tile in tiles})
    return float(np.mean([dice(*counts[number].tolist()) for number in shown]))


def dice(overlap: int, total: int) -> float:
    """Dice coefficient (Dice 1945) from the voxels in both masks and the sum of their sizes; 1 where both are empty."""
    return 2 * overlap / total if total else 1.0


def _count(
    network: torch.nn.Module,
    volume: Volume,
    tile: Tile,
    params: TrainingParams,
    autocast_dtype: torch.dtype | None,
    device: torch.device,
) -> torch.Tensor:
    image = torch.from_numpy(cut(volume.image(), tile.start_zyx, params.patch_voxels))[None, None].to(device)
    label = torch.from_numpy(tile.inside(volume.label(), params.patch_voxels)) > 0
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None),
    ):
        logits = network(image)
    predicted = (logits[0, 1] > logits[0, 0])[tile.inner].cpu()
    if (known := volume.labelled()) is not None:
        predicted &= torch.from_numpy(tile.inside(known, params.patch_voxels)) > 0
    return torch.stack([(predicted & label).sum(), predicted.sum() + label.sum()])


def _steps(size: int, patch: int) -> list[tuple[int, slice]]:
    """Starts of tiles along an axis of `size` voxels, and what each of them alone covers."""
    if size <= patch:
        start = -((patch - size) // 2)
        return [(start, slice(-start, size - start))]
    starts = [min(first, size - patch) for first in range(0, size, patch)]
    return [(start, slice(number * patch - start, patch)) for number, start in enumerate(starts)]


def _shuffled(items: list[Item], seed: int, number: int) -> list[Item]:
    order: NDArray[np.int64] = generator(seed, 0, number, Purpose.VALIDATION).permutation(len(items))
    return [items[place] for place in order]
