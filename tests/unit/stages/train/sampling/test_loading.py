import itertools
import os
import signal
from typing import Literal

import numpy as np
import psutil
import pytest
import torch

from stages.common.imaging.volumes import Volume
from stages.train.distributed.ranks import Ranks
from stages.train.params import TrainingParams
from stages.train.sampling.augment import change_intensity, draw_augmentation, reorient
from stages.train.sampling.draws import Purpose, generator
from stages.train.sampling.loading import Batch, PatchDataset, batches, first_batch
from stages.train.sampling.patches import cut, draw_patch, index_foreground
from tests.unit.stages.train.tiny import tiny_params


def _equal(left: Batch, right: Batch) -> bool:
    pairs = ((left.image, right.image), (left.label, right.label), (left.skeleton, right.skeleton))
    return left.ids == right.ids and all(torch.equal(a, b) for a, b in pairs)


def _expected(volumes: list[Volume], params: TrainingParams, number: int) -> dict[str, object]:
    """Patch `number` of a training: its place, its augmentation and its noise, each from its own stream."""
    epoch, index = divmod(number, params.steps_per_epoch * params.batch_size)
    foreground = index_foreground(volumes, params.seed)
    patch_rng, augmentation_rng, noise_rng = (
        generator(params.seed, epoch, index, purpose)
        for purpose in (Purpose.PATCH, Purpose.AUGMENTATION, Purpose.NOISE)
    )
    place = draw_patch(patch_rng, foreground, params.patch_voxels, params.foreground_share)
    augmentation = draw_augmentation(augmentation_rng, params.augmentation, params.patch_voxels)
    volume = volumes[place.volume]
    image, label, skeleton = (
        reorient(cut(array, place.start_zyx, params.patch_voxels), augmentation)
        for array in (volume.image(), volume.label(), volume.skeleton())
    )
    image = change_intensity(image, augmentation, noise_rng)
    return {"image_zyx": image, "label_zyx": label, "skeleton_zyx": skeleton, "id": volume.id}


@pytest.mark.parametrize("keep_in_memory", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_place_augmentation_and_noise_of_a_patch_have_a_stream_each(
    volumes: list[Volume], keep_in_memory: bool, order: Literal["C", "F"]
) -> None:
    """What one of them draws changes none of the others. Files of either memory order are read alike."""
    for volume in volumes:
        np.save(volume.folder / "image.npy", np.array(volume.image(), order=order))
    params = tiny_params(steps_per_epoch=10)
    dataset = PatchDataset(volumes, params, needs_skeleton=True, keep_in_memory=keep_in_memory)
    assert len(dataset) == 40
    for number in range(len(dataset)):
        item = vars(dataset[number])
        for name, expected in _expected(volumes, params, number).items():
            np.testing.assert_array_equal(item[name], expected, err_msg=f"{name} of patch {number}")


def test_a_training_without_a_skeleton_reads_none_and_has_the_label_in_its_place(volumes: list[Volume]) -> None:
    """A loss that reads no skeleton costs no reading."""
    for volume in volumes:
        (volume.folder / "skeleton.npy").unlink()
    item = PatchDataset(volumes, tiny_params(), needs_skeleton=False)[3]
    np.testing.assert_array_equal(item.skeleton_zyx, item.label_zyx)


def test_patches_leave_no_file_open(volumes: list[Volume]) -> None:
    """A training of a hundred thousand patches needs as many open files as one of ten."""
    dataset = PatchDataset(volumes, tiny_params(), needs_skeleton=True)
    before = psutil.Process().num_fds()
    for number in range(len(dataset)):
        dataset[number]
    assert psutil.Process().num_fds() == before


def test_a_batch_moves_to_a_device_whole() -> None:
    """Each part in its place, ids included."""
    batch = Batch(image=torch.rand(2, 1, 3, 4, 5), label=torch.ones(2), skeleton=torch.zeros(2), ids=["a", "b"])
    assert _equal(batch.to(torch.device("cpu")), batch)
    moved = batch.to(torch.device("meta"))
    assert {part.device.type for part in (moved.image, moved.label, moved.skeleton)} == {"meta"}


def test_a_ranks_first_batch_is_its_share_of_the_whole_one(volumes: list[Volume]) -> None:
    """What is probed on each rank is what that rank will train on."""
    params = tiny_params(batch_size=5)
    dataset = PatchDataset(volumes, params, needs_skeleton=True)
    whole = first_batch(dataset, params)
    parts = [first_batch(dataset, params, Ranks(rank=rank, size=2, batch_size=5)) for rank in range(2)]
    assert [len(part.ids) for part in parts] == [3, 2]
    assert parts[0].ids + parts[1].ids == whole.ids
    assert torch.equal(torch.cat([part.image for part in parts]), whole.image)
    first = next(batches(dataset, params, 0, 0, ranks=Ranks(rank=1, size=2, batch_size=5)))
    assert _equal(first, parts[1])


def test_loader_workers_leave_ctrl_c_to_the_training(volumes: list[Volume]) -> None:
    """The terminal sends it to them as well; they go on until the training stops them."""
    params = tiny_params(max_epochs=1, steps_per_epoch=8)
    before = {child.pid for child in psutil.Process().children()}
    loaded = batches(PatchDataset(volumes, params, needs_skeleton=False), params, 0, workers=1)
    next(loaded)
    (worker,) = {child.pid for child in psutil.Process().children()} - before
    os.kill(worker, signal.SIGINT)
    assert len(list(loaded)) == 7


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
