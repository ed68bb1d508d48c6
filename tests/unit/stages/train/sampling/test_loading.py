import itertools

import numpy as np
import pytest
import torch

from stages.common.imaging.volumes import Volume
from stages.train.sampling.loading import Batch, PatchDataset, batches, first_batch
from tests.unit.stages.train.tiny import tiny_params


def _equal(left: Batch, right: Batch) -> bool:
    pairs = ((left.image, right.image), (left.label, right.label), (left.skeleton, right.skeleton))
    return left.ids == right.ids and all(torch.equal(a, b) for a, b in pairs)


def test_the_number_of_workers_changes_no_batch(volumes: list[Volume]) -> None:
    """0, 1 and 2 loader workers give the same batches in the same order."""
    params = tiny_params()
    dataset = PatchDataset(volumes, params, needs_skeleton=True)
    alone, one, two = (list(batches(dataset, params, 0, workers)) for workers in (0, 1, 2))
    assert len(alone) == params.max_epochs * params.steps_per_epoch
    assert all(_equal(a, b) and _equal(a, c) for a, b, c in zip(alone, one, two, strict=True))
    assert not any(_equal(a, b) for a, b in itertools.combinations(alone, 2))


def test_loading_from_a_later_step_gives_what_an_uninterrupted_loader_gives_there(volumes: list[Volume]) -> None:
    """Resuming in the middle of an epoch neither repeats nor misses a patch."""
    params = tiny_params()
    dataset = PatchDataset(volumes, params, needs_skeleton=False)
    whole = list(batches(dataset, params, 0, 0))
    for first_step in (1, 4):
        assert all(
            _equal(a, b) for a, b in zip(whole[first_step:], batches(dataset, params, first_step, 0), strict=True)
        )
    assert _equal(first_batch(dataset, params), whole[0])


def test_loading_leaves_torchs_random_state_alone(volumes: list[Volume]) -> None:
    """A loader that drew from it would make a resumed training differ."""
    params = tiny_params()
    before = torch.get_rng_state()
    next(batches(PatchDataset(volumes, params, needs_skeleton=False), params, 0, 1))
    assert torch.equal(before, torch.get_rng_state())


def test_masks_follow_the_image_through_turns_and_keep_their_type(volumes: list[Volume]) -> None:
    """The tube is bright: in every augmented patch the labelled voxels are brighter than the others."""
    params = tiny_params(foreground_share=1.0)
    for batch in batches(PatchDataset(volumes, params, needs_skeleton=True), params, 0, 0):
        assert batch.image.shape == batch.label.shape == batch.skeleton.shape == (2, 1, 4, 16, 16)
        assert batch.image.dtype == torch.float32
        assert batch.label.dtype == batch.skeleton.dtype == torch.uint8
        inside = batch.label.bool()
        assert batch.image[inside].mean() > batch.image[~inside].mean()
        assert not (batch.skeleton.bool() & ~inside).any()


@pytest.mark.parametrize("changes", [{"seed": 8}, {"foreground_share": 0.0}])
def test_other_params_give_other_batches(volumes: list[Volume], changes: dict[str, object]) -> None:
    """The draws depend on the seed and on what is asked for."""
    params, other = tiny_params(), tiny_params(**changes)
    first = [next(batches(PatchDataset(volumes, p, needs_skeleton=False), p, 0, 0)) for p in (params, other)]
    assert not _equal(*first)


def test_volumes_kept_in_memory_give_the_same_patches_as_mapped_ones(volumes: list[Volume]) -> None:
    """The profile's cache decides how fast, never what; nothing is read from the disk any more."""
    params = tiny_params()
    mapped = PatchDataset(volumes, params, needs_skeleton=True)
    kept = PatchDataset(volumes, params, needs_skeleton=True, keep_in_memory=True)
    expected = [mapped[number] for number in range(len(mapped))]
    for volume in volumes:
        for file in volume.folder.iterdir():
            file.unlink()
    for number, item in enumerate(expected):
        np.testing.assert_array_equal(kept[number].image_zyx, item.image_zyx)
        np.testing.assert_array_equal(kept[number].label_zyx, item.label_zyx)
        np.testing.assert_array_equal(kept[number].skeleton_zyx, item.skeleton_zyx)
