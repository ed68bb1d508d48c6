from collections.abc import Callable

import numpy as np
import pytest
import torch

from stages.common.imaging.volumes import Volume
from stages.train.loop.validate import FEWEST_TILES, SHARE, Tile, dice, plan_tiles, tiles_of, validation_dsc
from tests.unit.stages.train.tiny import tiny_params

SHAPES = [(6, 24, 24), (2, 20, 30), (9, 17, 40), (4, 16, 16)]
# enough steps between validations that every tile is looked at
EVERYTHING = tiny_params(steps_per_epoch=1000)


class _BrightIsVessel(torch.nn.Module):
    """Logits from the image itself: vessel where it is brighter than 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, z, y, x) to (B, 2, z, y, x)."""
        return torch.cat([torch.zeros_like(image), 100 * (image - 0.5)], dim=1)


def _score(volumes: list[Volume], tiles: list[Tile], between: Callable[[], None] = lambda: None) -> float:
    return validation_dsc(_BrightIsVessel(), volumes, tiles, EVERYTHING, None, between_tiles=between)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_inner_parts_of_a_volumes_tiles_cover_each_of_its_voxels_once(shape: tuple[int, int, int]) -> None:
    """Volumes larger than the patch, smaller, and of a size that it does not divide."""
    covered = np.zeros(shape, int)
    for tile in tiles_of(0, shape, (4, 16, 16)):
        places = [
            slice(start + inner.start, start + inner.stop)
            for start, inner in zip(tile.start_zyx, tile.inner, strict=True)
        ]
        assert all(place.start >= 0 for place in places)
        covered[tuple(places)] += 1
    assert (covered == 1).all()


def test_with_every_tile_the_score_is_the_mean_dice_of_whole_volumes(volumes: list[Volume]) -> None:
    """Compared with thresholding the whole images, for volumes larger and smaller than the patch."""
    whole = []
    for volume in volumes:
        predicted, true = volume.image() > 0.5, volume.label() > 0
        whole.append(2 * (predicted & true).sum() / (predicted.sum() + true.sum()))
    tiles, asked = plan_tiles([volume.shape_zyx for volume in volumes], EVERYTHING), []
    assert _score(volumes, tiles, lambda: asked.append(1)) == pytest.approx(float(np.mean(whole)), abs=1e-12)
    assert len(asked) == len(tiles)


def test_only_volumes_of_which_a_tile_is_seen_count(volumes: list[Volume]) -> None:
    """A volume that was not drawn has no score, instead of one of 0 or 1."""
    shapes = [volume.shape_zyx for volume in volumes]
    tiles = [tile for tile in plan_tiles(shapes, EVERYTHING) if tile.volume != 1]
    alone = [_score(volumes, [tile for tile in tiles if tile.volume == number]) for number in (0, 2)]
    assert _score(volumes, tiles) == pytest.approx(float(np.mean(alone)), abs=1e-12)
    assert alone[0] != alone[1]


def test_a_voxel_on_which_both_logits_agree_is_background(volumes: list[Volume]) -> None:
    """As evaluate thresholds it: vessel means more likely than not."""

    class Undecided(_BrightIsVessel):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(image), 2, *image.shape[2:])

    tiles = plan_tiles([volume.shape_zyx for volume in volumes], EVERYTHING)
    assert validation_dsc(Undecided(), volumes, tiles, EVERYTHING, None, between_tiles=lambda: None) == 0


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_the_network_validates_as_it_will_predict(volumes: list[Volume], dtype: torch.dtype | None) -> None:
    """In eval mode, without gradients, in the training's arithmetic; one patch at a time, padded to its size."""
    seen = set()

    class Watched(_BrightIsVessel):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            arithmetic = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
            seen.add((self.training, torch.is_grad_enabled(), arithmetic, tuple(image.shape)))
            return super().forward(image)

    tiles = plan_tiles([volume.shape_zyx for volume in volumes], EVERYTHING)
    validation_dsc(Watched().train(), volumes, tiles, EVERYTHING, dtype, between_tiles=lambda: None)
    assert seen == {(False, False, dtype, (1, 1, 4, 16, 16))}


def test_a_request_to_stop_ends_the_validation_between_two_tiles(volumes: list[Volume]) -> None:
    """No tile is computed after it."""
    computed = []

    class Counting(_BrightIsVessel):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            computed.append(1)
            return super().forward(image)

    def stop() -> None:
        if len(computed) == 2:
            raise InterruptedError

    tiles = plan_tiles([volume.shape_zyx for volume in volumes], EVERYTHING)
    with pytest.raises(InterruptedError):
        validation_dsc(Counting(), volumes, tiles, EVERYTHING, None, between_tiles=stop)
    assert len(computed) == 2 < len(tiles)


@pytest.mark.parametrize("interval", [1, 2, 5])
def test_tiles_are_so_many_that_a_training_spends_under_a_tenth_on_them(interval: int) -> None:
    """A forward pass is a third of a step: per patch trained on, SHARE tiles cost SHARE / 3 of its step."""
    params = tiny_params(validation_interval=interval, steps_per_epoch=50, batch_size=2)
    tiles = plan_tiles([(40, 512, 512)] * 3, params)
    assert len(tiles) == round(SHARE * interval * 50 * 2)
    assert len(tiles) / (interval * 50 * 2) / 3 < 0.1


def test_tiles_are_the_same_in_each_validation_spread_over_the_volumes_and_others_for_another_seed() -> None:
    """No two alike, each volume as many (±1); a training too short for that still looks at a few."""
    shapes, params = [(40, 128, 128)] * 5, tiny_params(steps_per_epoch=45)
    tiles = plan_tiles(shapes, params)
    assert tiles == plan_tiles(shapes, params)
    assert tiles != plan_tiles(shapes, tiny_params(steps_per_epoch=45, seed=8))
    assert len({(tile.volume, tile.start_zyx) for tile in tiles}) == len(tiles)
    counts = np.bincount([tile.volume for tile in tiles])
    assert counts.max() - counts.min() <= 1
    few = plan_tiles(shapes * 20, tiny_params(steps_per_epoch=1, batch_size=1))
    assert len(few) == FEWEST_TILES
    assert sorted(tile.volume for tile in few) != list(range(FEWEST_TILES)), "volumes are drawn, too"


def test_dice_by_hand() -> None:
    """Two voxels shared by masks of three and four: 4/7; both empty: 1; one empty: 0."""
    assert dice(2, 7) == pytest.approx(4 / 7)
    assert dice(0, 0) == 1
    assert dice(0, 3) == 0
