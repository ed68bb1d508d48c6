import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common.errors import CapillaryError, DataError
from stages.common.runtime import Compute, Monitoring, Runtime
from stages.train import training
from stages.train.cell import plan_cell
from stages.train.loop.engine import Setup
from stages.train.loop.history import EpochRecord
from stages.train.part import RankSetup
from stages.train.resuming.checkpoint import Checkpoints
from stages.train.resuming.interrupt import Interrupt
from stages.train.resuming.lock import cell_lock
from stages.train.training import lead, train_cell
from tests.unit.stages.train.tiny import runtime_in, tiny_params

EPOCHS = 2


class _Run:
    def log_metrics(self, metrics: object, step: int) -> None:
        """Nothing."""


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a training wrote and registered, in order; torch is as before afterwards."""
    order: list[str] = []
    threads, save = torch.get_num_threads(), Checkpoints.save

    def note_save(checkpoints: Checkpoints, state: dict[str, Any]) -> None:
        save(checkpoints, state)
        order.append(f"checkpoint of epoch {state['epoch']}")

    monkeypatch.setattr(Checkpoints, "save", note_save)
    monkeypatch.setattr(training, "recorded", lambda *_: contextlib.nullcontext(_Run()))
    monkeypatch.setattr(training, "register", lambda *_: order.append("registered"))
    yield order
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def _train(processed: Path, state_dir: Path) -> None:
    state_dir.mkdir()
    cell = plan_cell(processed, tiny_params(max_epochs=EPOCHS), "dice_ce", 0)
    lead(cell, runtime_in(state_dir, Compute(device="cpu")), Interrupt())


def test_a_training_is_registered_once_its_last_epoch_is_kept_and_writes_nothing_after_it(
    processed: Path, tmp_path: Path, happened: list[str]
) -> None:
    """A disk that is full by then cannot fail what is registered."""
    _train(processed, tmp_path / "state")
    assert happened == ["checkpoint of epoch 1", "checkpoint of epoch 2", "registered"]


def test_a_training_whose_last_checkpoint_cannot_be_written_registers_nothing(
    processed: Path, tmp_path: Path, happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the whole result; the same command finishes what is missing."""
    save = Checkpoints.save

    def run_full(checkpoints: Checkpoints, state: dict[str, Any]) -> None:
        if state["epoch"] == EPOCHS:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(checkpoints, state)

    monkeypatch.setattr(Checkpoints, "save", run_full)
    with pytest.raises(OSError, match="No space left"):
        _train(processed, tmp_path / "state")
    assert happened == ["checkpoint of epoch 1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "cldice"},
        {"fold": 1},
        {"data_sha256": "other data"},
        {"params": tiny_params(max_epochs=EPOCHS, learning_rate=0.5)},
        {"fingerprint": "other inputs"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_checkpoint_of_another_loss_fold_data_params_or_fingerprint_is_refused(
    processed: Path, tmp_path: Path, happened: list[str], changes: dict[str, Any]
) -> None:
    """A stage that is started by hand has nothing but these to tell trainings apart."""
    cell = plan_cell(processed, tiny_params(max_epochs=EPOCHS), "dice_ce", 0)
    runtime = runtime_in(tmp_path, Compute(device="cpu"))
    checkpoints: list[Checkpoints] = []

    class Stop(Exception):
        """Before anything is trained."""

    def keep_one(part: RankSetup, load: Callable[[], object]) -> None:
        own = load.__self__  # type: ignore[attr-defined]  # a method of Checkpoints
        checkpoints.append(own)
        if len(checkpoints) == 1:
            own.save({"epoch": 0})
        load()
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "start_or_resume", keep_one)
        for _ in range(2):  # its own checkpoint is read
            with pytest.raises(Stop):
                lead(cell, runtime, Interrupt())
        fingerprint = {name: changes[name] for name in changes.keys() & {"fingerprint"}}
        others = {name: changes[name] for name in changes.keys() - {"fingerprint"}}
        with pytest.raises(DataError, match="another training"):
            lead(replace(cell, **others), replace(runtime, **fingerprint), Interrupt())


def test_a_training_holds_its_cell_and_watches_its_memory(
    processed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second process trains the cell meanwhile; the limit of the profile is a request to stop."""

    def look(_cell: object, runtime: Runtime, interrupt: Interrupt) -> str:
        with pytest.raises(CapillaryError, match="another process"), cell_lock(runtime.state_dir, patience_s=0):
            pass
        while not interrupt.asked:
            threading.Event().wait(0.01)
        return "trained"

    monkeypatch.setattr(training, "lead", look)
    cell = plan_cell(processed, tiny_params(), "dice_ce", 0)
    runtime = replace(runtime_in(tmp_path / "state", Compute()), monitoring=Monitoring(memory_abort_gb=0.001))
    assert train_cell(cell, runtime) == "trained"


def test_the_loop_gets_the_cells_own_volumes_and_logs_an_epoch_under_its_number(
    processed: Path, tmp_path: Path, happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of the training volumes, tiles of the validation volumes, points of each epoch to the run."""
    logged: list[tuple[dict[str, float], int]] = []
    record = EpochRecord(
        epoch=7, loss=0.5, learning_rate=0.1, gradient_norm=None, nonfinite_steps=0, validation_dsc=None, seconds=1.0
    )

    class Run:
        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            logged.append((metrics, step))

    def look(setup: Setup, _state: object) -> None:
        assert setup.validation == cell.validation
        assert {tile.volume for tile in setup.tiles} == set(range(len(cell.validation)))
        ids = {name for batch in setup.batches(0) for name in batch.ids}
        assert ids == {volume.id for volume in cell.training}
        assert len(list(setup.batches(2))) == cell.params.max_epochs * cell.params.steps_per_epoch - 2
        setup.log(record)

    monkeypatch.setattr(training, "recorded", lambda *_: contextlib.nullcontext(Run()))
    monkeypatch.setattr(training, "run_training", look)
    cell = plan_cell(processed, tiny_params(steps_per_epoch=20), "dice_ce", 0)
    lead(cell, runtime_in(tmp_path, Compute(device="cpu")), Interrupt())
    assert logged == [(record.points(), 7)]
