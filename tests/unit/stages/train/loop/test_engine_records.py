"""What the training loop writes down: records, checkpoints, the best epoch and the lines of the log."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stages.common.epoch_line import EpochLine, parse_epoch
from stages.common.errors import CapillaryError
from stages.train.loop import engine
from stages.train.loop.history import EpochRecord
from stages.train.loop.step import StepTaken, take_step
from stages.train.resuming.interrupt import Interrupt
from stages.train.sampling.loading import Batch
from tests.unit.stages.train.loop.tiny_training import TinyTraining, poison, stop_at
from tests.unit.stages.train.tiny import tiny_params


class _Clock:
    """Time that passes only while a batch is loaded, `batch_s` for each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, batch_s: float) -> None:
        self.now_s, self.batch_s = 0.0, batch_s
        monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def each_batch(self, _step: int, _batch: Batch, _interrupt: Interrupt) -> None:
        """One batch."""
        self.now_s += self.batch_s


def _lines(said: str) -> list[EpochLine]:
    return [line for text in said.splitlines() if (line := parse_epoch(text)) is not None]


def _scored(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Validation gives `scores`, one after the other."""
    left = iter(scores)
    monkeypatch.setattr(engine, "validation_dsc", lambda *_, **__: next(left))


def test_an_epochs_record_has_the_means_of_the_steps_that_were_taken(
    processed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradient norm of 3 of 4 steps, the rate of the last one; each step has its own rate and the clip."""
    results: list[Any] = []
    rates: list[float] = []

    def watched(state: Any, batch: Any, loss: Any, rate: float, clip: float, ranks: Any) -> Any:
        assert clip == 7.0
        rates.append(rate)
        results.append(take_step(state, batch, loss, rate, clip, ranks))
        return results[-1]

    monkeypatch.setattr(engine, "take_step", watched)
    params = tiny_params(steps_per_epoch=4, grad_clip_norm=7.0)
    training = TinyTraining(processed, tmp_path, params, poison({1})).run()
    first, second = training.state.history
    taken = [result for result in results[:4] if isinstance(result, StepTaken)]
    assert len(taken) == 3
    assert first.loss == pytest.approx(sum(result.loss for result in taken) / 3)
    assert first.gradient_norm == pytest.approx(sum(result.gradient_norm for result in taken) / 3)
    assert second.loss == pytest.approx(sum(result.loss for result in results[4:]) / 4)
    assert (first.nonfinite_steps, second.nonfinite_steps) == (1, 0)
    assert rates == [training.setup.schedule.learning_rate(step) for step in range(8)]
    assert [first.learning_rate, second.learning_rate] == [rates[3], rates[7]]


def test_an_epoch_is_kept_before_it_is_logged(processed: Path, tmp_path: Path) -> None:
    """A run that is killed between the two logs what is missing; the other way round it would log it twice."""
    happened: list[tuple[str, int]] = []
    training = TinyTraining(processed, tmp_path, tiny_params())

    class Noted:
        def save(self, state: dict[str, Any]) -> None:
            happened.append(("kept", state["epoch"]))

        def wait(self) -> None:
            """Nothing."""

    def log(record: EpochRecord) -> None:
        happened.append(("logged", record.epoch))

    training.setup = replace(training.setup, checkpoints=Noted(), log=log)
    training.run()
    assert happened == [("kept", 1), ("logged", 1), ("kept", 2), ("logged", 2)]


@pytest.mark.parametrize(
    ("scores", "best"), [([0.3, 0.9, 0.5], 2), ([0.5, 0.5, 0.5], 1), ([0.1, 0.2, 0.3], 3), ([0.9, 0.0, 0.0], 1)]
)
def test_the_best_epoch_is_the_first_with_the_highest_score_and_has_its_own_weights(
    processed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], best: int
) -> None:
    """Later epochs change the network, not what was kept of it."""
    _scored(monkeypatch, scores)
    training = TinyTraining(processed, tmp_path, tiny_params(max_epochs=3, steps_per_epoch=1, validation_interval=1))
    weights: list[dict[str, torch.Tensor]] = []

    def log(_record: EpochRecord) -> None:
        weights.append({name: value.clone() for name, value in training.state.network.state_dict().items()})

    training.setup = replace(training.setup, log=log)
    training.run()
    kept = training.state.best
    assert kept is not None
    assert (kept.epoch, kept.validation_dsc) == (best, scores[best - 1])
    torch.testing.assert_close(dict(kept.weights), weights[best - 1], rtol=0, atol=0)


def test_each_epoch_prints_its_record_in_one_line(
    processed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the experiment runner reads is what was recorded; steps that were skipped are said, others are not."""
    history = TinyTraining(processed, tmp_path, tiny_params(), poison({4})).run().state.history
    lines = _lines(capsys.readouterr().out)
    assert [(line.epoch, line.epochs) for line in lines] == [(1, 2), (2, 2)]
    for line, record in zip(lines, history, strict=True):
        assert line.loss == pytest.approx(record.loss, rel=1e-3)
        assert line.rss_gb > 0.05
    assert lines[0].validation_dsc is None
    assert lines[1].validation_dsc == pytest.approx(history[1].validation_dsc, abs=1e-4)
    assert ["skipped" in line.notes for line in lines] == [False, True]
    assert "1 steps skipped" in lines[1].notes


def test_seconds_of_an_epoch_add_up_over_processes_and_the_time_left_follows_from_the_epochs_of_this_one(
    processed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three batches of 2 s an epoch; stopped in the second epoch, and resumed later where a batch takes 5 s."""
    params = tiny_params(max_epochs=5, validation_interval=5)
    clock = _Clock(monkeypatch, batch_s=2.0)

    def until_epoch_2(step: int, batch: Batch, interrupt: Interrupt) -> None:
        clock.each_batch(step, batch, interrupt)
        stop_at(3)(step, batch, interrupt)

    with pytest.raises(CapillaryError):
        TinyTraining(processed, tmp_path, params, until_epoch_2).run()
    clock.now_s += 1000
    clock.batch_s = 5.0
    resumed = TinyTraining(processed, tmp_path, params, clock.each_batch).run()
    assert [record.seconds for record in resumed.state.history] == [6, 2 + 5 + 5, 15, 15, 15]
    assert [line.remaining_s for line in _lines(capsys.readouterr().out)] == [4 * 6, 3 * 12, 2 * 13.5, 15, 0]
