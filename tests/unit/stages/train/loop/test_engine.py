import functools
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.common.errors import CapillaryError, ExitCode
from stages.common.imaging.volumes import Volume
from stages.common.runtime import Compute
from stages.train.loop.engine import MOST_NONFINITE_IN_ROW
from stages.train.losses import Loss
from stages.train.losses.warp import SoftDiceLoss
from tests.unit.stages.train.loop.tiny_training import TinyTraining, poison, stop_at, without_time
from tests.unit.stages.train.tiny import tiny_params, write_volumes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TinyTraining]:
    """The uninterrupted training of three epochs with a loss, done once for all tests that compare one with it."""

    @functools.cache
    def train(loss_name: str) -> TinyTraining:
        folder = tmp_path_factory.mktemp(loss_name)
        write_volumes(folder / "processed")
        return TinyTraining(folder / "processed", folder, tiny_params(max_epochs=3), loss_name=loss_name).run()

    return train


def test_a_training_learns_validates_on_time_and_at_the_end_and_logs_each_epoch(
    processed: Path, tmp_path: Path
) -> None:
    """The loss falls; epochs 2, 4 and the last (5) are validated; every epoch is logged once."""
    params = tiny_params(max_epochs=5, steps_per_epoch=6, learning_rate=0.03)
    training = TinyTraining(processed, tmp_path, params).run()
    history = training.state.history
    assert training.logged == history
    assert [record.epoch for record in history] == [1, 2, 3, 4, 5]
    assert [record.epoch for record in history if record.validation_dsc is not None] == [2, 4, 5]
    assert history[-1].loss is not None
    assert history[0].loss is not None
    assert history[-1].loss < 0.8 * history[0].loss
    assert training.state.best is not None
    assert training.state.best.validation_dsc == max(record.validation_dsc or 0 for record in history)


@pytest.mark.parametrize("step", [0, 2, 4, 8])
def test_a_training_that_was_stopped_anywhere_ends_bit_equal_to_an_uninterrupted_one(
    processed: Path, tmp_path: Path, step: int, whole: Callable[[str], TinyTraining]
) -> None:
    """First step, end of an epoch, mid-epoch, last step of all: weights, moments, history and best are the same."""
    params, uninterrupted = tiny_params(max_epochs=3), whole("dice_ce").state
    stopped = TinyTraining(processed, tmp_path / "stopped", params, stop_at(step))
    with pytest.raises(CapillaryError) as stop:
        stopped.run()
    assert stop.value.code is ExitCode.TERMINATED
    assert "checkpoint is written" in stop.value.what
    resumed = TinyTraining(processed, tmp_path / "stopped", params)
    assert resumed.state.epoch * 3 + resumed.state.tally.steps_done == step + 1
    resumed.run()

    torch.testing.assert_close(resumed.state.network.state_dict(), uninterrupted.network.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(
        resumed.state.optimizer.state_dict(), uninterrupted.optimizer.state_dict(), rtol=0, atol=0
    )
    assert without_time(resumed.state.history) == without_time(uninterrupted.history)
    assert resumed.state.best is not None
    assert uninterrupted.best is not None
    assert resumed.state.best.epoch == uninterrupted.best.epoch


@pytest.mark.parametrize("step", [1, 4, 5, 7])
def test_a_loss_that_changes_with_time_ends_bit_equal_wherever_the_training_was_stopped(
    processed: Path, tmp_path: Path, step: int, whole: Callable[[str], TinyTraining]
) -> None:
    """warp changes after 4.5 of 9 steps: stopped in its warm-up, at the change, right after it and well after it."""
    params, uninterrupted = tiny_params(max_epochs=3), whole("warp").state
    with pytest.raises(CapillaryError):
        TinyTraining(processed, tmp_path / "stopped", params, stop_at(step), loss_name="warp").run()
    resumed = TinyTraining(processed, tmp_path / "stopped", params, loss_name="warp").run()
    torch.testing.assert_close(resumed.state.network.state_dict(), uninterrupted.network.state_dict(), rtol=0, atol=0)
    assert without_time(resumed.state.history) == without_time(uninterrupted.history)


def test_each_step_asks_the_loss_for_the_share_of_the_training_that_is_done(processed: Path, tmp_path: Path) -> None:
    """0 at the first step, just under 1 at the last; what `at` gives is what the step minimises."""
    seen: list[float] = []

    class Watched(SoftDiceLoss):
        def at(self, progress: float) -> Loss:
            seen.append(progress)
            return SoftDiceLoss()

        def evaluate(self, *_: object) -> torch.Tensor:
            raise AssertionError("not the loss of any step")

    training = TinyTraining(processed, tmp_path, tiny_params())
    training.setup = replace(training.setup, loss=Watched())
    training.run()
    assert seen == [step / 6 for step in range(6)]


def test_a_finished_training_that_is_started_again_does_nothing(processed: Path, tmp_path: Path) -> None:
    """A run killed between training and publishing only registers and writes its card again."""
    first = TinyTraining(processed, tmp_path, tiny_params()).run()

    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    again = TinyTraining(processed, tmp_path, tiny_params(), refuse).run()
    assert again.logged == []
    assert again.state.history == first.state.history


def test_apoisoned_batch_is_named_counted_skipped_and_survived(
    processed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Epoch, step, fault and volumes are said; the epoch's mean leaves the step out; the weights stay finite."""
    training = TinyTraining(processed, tmp_path, tiny_params(), poison({1, 4})).run()
    assert [record.nonfinite_steps for record in training.state.history] == [1, 1]
    assert all(torch.isfinite(parameter).all() for parameter in training.state.network.parameters())
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: step skipped"))
    assert "the loss is nan" in line
    assert "epoch 1, step 2, volumes volume_" in line


def test_an_epoch_without_a_finite_step_has_no_loss_instead_of_a_wrong_one(processed: Path, tmp_path: Path) -> None:
    """A mean over nothing is no number, and is not logged."""
    training = TinyTraining(processed, tmp_path, tiny_params(), poison({0, 1, 2})).run()
    assert training.state.history[0].loss is None
    assert "loss" not in training.state.history[0].points()
    assert training.state.history[1].loss is not None


def test_too_many_faults_in_a_row_stop_the_training_across_epochs_and_resumes(processed: Path, tmp_path: Path) -> None:
    """The count goes on through epochs; a good step sets it back."""
    params = tiny_params(max_epochs=10)
    with pytest.raises(CapillaryError) as stop:
        TinyTraining(processed, tmp_path / "bad", params, poison(set(range(4, 100)))).run()
    assert f"{MOST_NONFINITE_IN_ROW} steps in a row" in stop.value.what
    assert "learning_rate" in stop.value.remedy
    survived = TinyTraining(processed, tmp_path / "good", params, poison(set(range(30)) - {9, 19, 29})).run()
    assert sum(record.nonfinite_steps for record in survived.state.history) == 27


def test_a_request_during_the_validation_stops_before_the_epoch_is_closed_and_costs_no_step(
    processed: Path, tmp_path: Path, whole: Callable[[str], TinyTraining]
) -> None:
    """The checkpoint has every step of the epoch; the training that resumes validates it and ends as any other."""
    params, uninterrupted = tiny_params(max_epochs=3), whole("dice_ce").state
    stopped = TinyTraining(processed, tmp_path / "stopped", params)

    class Asking(Volume):
        def label(self) -> NDArray[np.uint8]:
            stopped.setup.interrupt.received = signal.SIGTERM
            return super().label()

    asking = [Asking(**vars(volume)) for volume in stopped.setup.validation]
    stopped.setup = replace(stopped.setup, validation=list(asking))
    with pytest.raises(CapillaryError) as stop:
        stopped.run()
    assert "after epoch 1, step 3" in stop.value.what
    assert [record.epoch for record in stopped.state.history] == [1]
    resumed = TinyTraining(processed, tmp_path / "stopped", params)
    assert (resumed.state.epoch, resumed.state.tally.steps_done) == (1, 3)
    resumed.run()
    torch.testing.assert_close(resumed.state.network.state_dict(), uninterrupted.network.state_dict(), rtol=0, atol=0)
    assert without_time(resumed.state.history) == without_time(uninterrupted.history)


def test_a_smaller_micro_batch_is_the_same_training_to_rounding_and_is_resumed_with(
    processed: Path, tmp_path: Path
) -> None:
    """One patch at a time ends near two at a time; a resumed run goes on with what the checkpoint says, bit-equal."""
    params = tiny_params(max_epochs=3, batch_size=3)
    one = Compute(micro_batch=1)
    whole = TinyTraining(processed, tmp_path / "whole", params).run()
    parts = TinyTraining(processed, tmp_path / "parts", params, compute=one).run()
    for record, other in zip(whole.state.history, parts.state.history, strict=True):
        assert record.loss == pytest.approx(other.loss, rel=1e-3)

    with pytest.raises(CapillaryError):
        TinyTraining(processed, tmp_path / "stopped", params, stop_at(4), compute=one).run()
    resumed = TinyTraining(processed, tmp_path / "stopped", params).run()
    assert resumed.state.switches.micro_batch == 1
    torch.testing.assert_close(resumed.state.network.state_dict(), parts.state.network.state_dict(), rtol=0, atol=0)
