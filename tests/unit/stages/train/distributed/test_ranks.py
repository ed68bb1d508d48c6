"""Ranks: by arithmetic, and in two real processes. Their server imports torch, and serves one file of tests."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common.imaging.volumes import Volume
from stages.common.runtime import Compute
from stages.train.computing.switches import asked_for
from stages.train.distributed.ranks import ALONE, Ranks
from stages.train.losses.catalogue import LOSSES
from tests.unit.stages.train.distributed import two_processes
from tests.unit.stages.train.distributed.stopped_processes import stop
from tests.unit.stages.train.distributed.two_processes import (
    MICRO_BATCHES,
    PATCHES,
    gradients,
    loaded,
    observe,
    score,
    step,
)
from tests.unit.stages.train.tiny import write_volumes


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> list[Volume]:
    """Three volumes, one smaller than the patch."""
    return write_volumes(tmp_path_factory.mktemp("volumes"), ((6, 24, 24), (2, 20, 30), (9, 17, 40)))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, volumes: list[Volume]) -> list[dict[str, Any]]:
    """What two real processes found."""
    return observe(tmp_path_factory.mktemp("processes"), volumes)


@pytest.mark.parametrize(("size", "batch_size"), [(1, 4), (2, 2), (2, 5), (3, 4), (8, 30), (5, 5)])
def test_shares_cover_a_batch_in_order_nearly_equally_and_none_is_empty(size: int, batch_size: int) -> None:
    """Every patch is somebody's, nobody waits for one who has twice as many, and what fits rank 0 fits every rank."""
    patches = list(range(batch_size))
    shares = [patches[Ranks(rank=rank, size=size, batch_size=batch_size).share()] for rank in range(size)]
    assert [patch for share in shares for patch in share] == patches
    sizes = [len(share) for share in shares]
    assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 1
    assert sizes[0] == max(sizes)


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
@pytest.mark.parametrize(("size", "batch_size"), [(2, 3), (2, 5), (3, 4), (4, 4)])
def test_no_rank_computes_more_patches_at_a_time_than_are_asked_for(
    size: int, batch_size: int, micro_batch: int
) -> None:
    """Rank 0 decides from its own share, and "the whole share" means as many patches or fewer on the others."""
    patches = range(batch_size)
    counts = [len(patches[Ranks(rank=rank, size=size, batch_size=batch_size).share()]) for rank in range(size)]
    decided = asked_for(Compute(micro_batch=micro_batch), counts[0]).micro_batch
    assert all(min(count, decided or count) <= micro_batch for count in counts)


def test_what_ranks_tell_each_other_arrives_alike_on_each(found: list[dict[str, Any]]) -> None:
    """Uneven shares are joined in the batch's order; a request of any rank counts; sums are those of all."""
    for rank in found:
        assert torch.equal(rank["gathered"], torch.arange(PATCHES * 2).reshape(PATCHES, 2))
        assert rank["names"] == ["rank 0", "rank 1"]
        assert rank["asked"] == [True, True, False]
        assert rank["first"] == "of rank 1"
        assert rank["once"] == {"made by": 0}
        assert torch.equal(rank["sums"][0], torch.full((2, 3), 3.0))
        assert torch.equal(rank["sums"][1], torch.full((4,), 30.0))


@functools.cache
def of_one_process(loss: str) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of the whole batch and the parameters' gradients, for every size of micro-batches."""
    return gradients(loss, ALONE, None)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("micro_batch", MICRO_BATCHES)
def test_two_processes_have_the_gradient_of_the_whole_batch_and_the_same_bits(
    found: list[dict[str, Any]], loss: str, micro_batch: int | None
) -> None:
    """In float64 to rounding, for every loss: whole shares, one patch at a time, two (rank 1 has no more), four."""
    value, whole = of_one_process(loss)
    (first_value, first), (second_value, second) = (rank["gradients"][loss, micro_batch] for rank in found)
    assert first_value == second_value == pytest.approx(value, rel=1e-12)
    assert first.keys() == second.keys() == whole.keys()
    for name, gradient in whole.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], gradient, rtol=1e-7, atol=1e-9 * float(gradient.norm()) + 1e-15)


def test_a_step_is_that_of_one_process_and_is_skipped_by_both_or_none(found: list[dict[str, Any]]) -> None:
    """The NaN lies in rank 1's share; rank 0 skips the step, too. Weights stay bit-equal between the two."""
    (result, weights), (other_result, other_weights) = (rank["step"] for rank in found)
    assert result == other_result
    torch.testing.assert_close(weights, other_weights, rtol=0, atol=0)
    torch.testing.assert_close(weights, step(ALONE, poisoned=False)[1], rtol=1e-6, atol=1e-9)
    before = dict(two_processes.network().state_dict())
    for rank in found:
        result, weights = rank["poisoned"]
        assert result == "StepSkipped(fault='the loss is nan')"
        torch.testing.assert_close(weights, before, rtol=0, atol=0)


def test_the_ranks_load_each_batch_between_them_and_score_as_one_process_does(
    found: list[dict[str, Any]], volumes: list[Volume]
) -> None:
    """Patches are named by their number in the training, so nobody draws another one; voxels are counted."""
    alone = loaded(volumes, ALONE)
    for batch, *parts in zip(alone, *(rank["loaded"] for rank in found), strict=True):
        assert torch.equal(torch.cat(parts), batch)
    assert found[0]["score"] == found[1]["score"] == score(volumes, ALONE)


def test_no_process_says_that_the_checkpoint_is_written_before_it_is(tmp_path: Path) -> None:
    """A follower has nothing to write, and waits for rank 0, whose disk is slow."""
    for rank in stop(tmp_path, full=False):
        assert rank["said"] == "stopped by SIGTERM after epoch 0, step 1; the checkpoint is written"
        assert rank["written"]


def test_a_checkpoint_that_cannot_be_written_is_what_is_said(tmp_path: Path) -> None:
    """Rank 0 says so; a follower only sees that it is gone."""
    lead, follower = stop(tmp_path, full=True)
    assert "No space left on device" in lead["said"]
    assert "checkpoint is written" not in follower["said"]
