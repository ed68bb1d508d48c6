"""Patches of volumes that are labelled in part."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.common.imaging.volumes import Volume
from stages.train.loop.validate import plan_tiles, validation_dsc
from stages.train.sampling.draws import Purpose, generator
from stages.train.sampling.loading import PatchDataset, batches
from stages.train.sampling.patches import cut, draw_patch, index_foreground
from tests.unit.stages.train.tiny import tiny_params

SHAPE = (6, 40, 48)
PATCH = (4, 16, 16)


def saved(folder: Path, name: str, labelled: NDArray[np.bool_] | None) -> Volume:
    """A volume with a bar of vessel; `labelled` None: all."""
    (folder / name).mkdir()
    label = np.zeros(SHAPE, np.uint8)
    label[2:4, 10:14] = 1
    label &= 1 if labelled is None else labelled
    arrays = {"image": np.random.default_rng(0).random(SHAPE, dtype=np.float32) + label, "label": label}
    arrays |= {"skeleton": label} | ({} if labelled is None else {"labelled": labelled.astype(np.uint8)})
    for array, values in arrays.items():
        np.save(folder / name / f"{array}.npy", values)
    share = 1.0 if labelled is None else float(labelled.mean())
    return Volume(
        id=name,
        group=name,
        shape_zyx=SHAPE,
        spacing_um=(4.0, 1.0, 1.0),
        foreground_share=float(label.mean()),
        fold=0,
        folder=folder / name,
        labelled_share=share,
    )


@pytest.fixture
def corner() -> NDArray[np.bool_]:
    """A slab and a single voxel."""
    labelled = np.zeros(SHAPE, np.bool_)
    labelled[3, 8:20, :20] = True
    labelled[0, 39, 47] = True
    return labelled


def test_no_patch_is_drawn_without_a_labelled_voxel(tmp_path: Path, corner: NDArray[np.bool_]) -> None:
    """On vessels or anywhere, and both the slab and the lone voxel are met."""
    foreground = index_foreground([saved(tmp_path, "a", corner)], seed=0)
    for share in (0.0, 0.5, 1.0):
        places = [draw_patch(generator(0, 0, n, Purpose.PATCH), foreground, PATCH, share) for n in range(100)]
        assert all(cut(corner, place.start_zyx, PATCH).any() for place in places)
    assert corner.reshape(-1)[foreground.labelled[0]].all()
    assert len(set(foreground.labelled[0])) == corner.sum()


def test_a_volume_that_is_labelled_throughout_draws_as_ever(tmp_path: Path) -> None:
    """Also beside one that is labelled in part."""
    volume = saved(tmp_path, "a", None)
    alone = index_foreground([volume], seed=0)
    assert alone.labelled == (None,)
    assert [draw_patch(generator(0, 0, n, Purpose.PATCH), alone, PATCH, 0.0).start_zyx for n in range(3)] == [
        expected(n) for n in range(3)
    ]


def expected(number: int) -> tuple[int, ...]:
    """A place by the draws that a volume without a mask has always had."""
    rng = generator(0, 0, number, Purpose.PATCH)
    rng.integers(1), rng.random()
    return tuple(int(rng.integers(size - patch + 1)) for size, patch in zip(SHAPE, PATCH, strict=True))


def test_batches_carry_the_mask_where_a_volume_is_partial(tmp_path: Path, corner: NDArray[np.bool_]) -> None:
    """Turned as the label is, and all ones for a volume that is whole; no batch carries one where all are whole."""
    part, whole = saved(tmp_path, "part", corner), saved(tmp_path, "whole", None)
    params = tiny_params(patch_voxels=PATCH, batch_size=8, steps_per_epoch=1, max_epochs=1)
    for keep in (False, True):
        dataset = PatchDataset([part, whole], params, needs_skeleton=False, keep_in_memory=keep)
        batch = next(batches(dataset, params, 0, workers=0))
        assert batch.labelled is not None
        assert not (batch.label.bool() & ~batch.labelled.bool()).any()
        full = [bool(mask.all()) for mask in batch.labelled]
        assert full == [name == "whole" for name in batch.ids]
        assert {True, False} == set(full)
    plain = PatchDataset([whole], params, needs_skeleton=False)
    assert next(batches(plain, params, 0, workers=0)).labelled is None


def test_validation_counts_labelled_voxels_of_tiles_that_have_some(tmp_path: Path, corner: NDArray[np.bool_]) -> None:
    """A network that finds vessel everywhere is wrong about labelled background alone."""

    class Everywhere(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.cat([image * 0, image * 0 + self.weight], dim=1)

    volume = saved(tmp_path, "a", corner)
    params = tiny_params(patch_voxels=PATCH, steps_per_epoch=100, batch_size=8)
    tiles = plan_tiles([SHAPE], params, [volume.labelled()])
    assert 0 < len(tiles) < len(plan_tiles([SHAPE], params))
    found = validation_dsc(Everywhere(), [volume], tiles, params, None, between_tiles=lambda: None)
    vessel = int(volume.label().sum())
    assert found == pytest.approx(2 * vessel / (vessel + corner.sum()))
