import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common.runtime import Compute
from stages.train import training
from stages.train.cell import plan_cell
from stages.train.resuming.checkpoint import Checkpoints
from stages.train.resuming.interrupt import Interrupt
from stages.train.training import lead
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
