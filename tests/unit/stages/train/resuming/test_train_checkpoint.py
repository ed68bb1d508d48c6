import io
import random
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.common.errors import DataError
from stages.train.computing.precision import Decision
from stages.train.computing.switches import Switches
from stages.train.loop.history import EpochRecord
from stages.train.loop.state import Best, Tally, TrainingState
from stages.train.resuming.checkpoint import NAME, PREVIOUS, Checkpoints

IDENTITY = {"fingerprint": "abc", "loss": "dice_ce", "fold": 0}


def _state(seed: int, scale: float = 65536.0) -> TrainingState:
    torch.manual_seed(seed)
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.rand(4, 3)).sum().backward()
    optimizer.step()
    return TrainingState(
        network=network,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler("cpu", enabled=True, init_scale=scale),
        precision=Decision(name="bf16", reason="because", machine="here"),
    )


def test_a_restored_state_is_the_saved_one_with_every_random_state(tmp_path: Path) -> None:
    """Weights, moments, counters, history, best and the draws that would have come next."""
    state = _state(0, scale=128.0)
    state.switches = Switches(micro_batch=2, channels_last=True)
    state.epoch, state.nonfinite_in_row, state.run_id = 3, 2, "run"
    state.tally = Tally(steps_done=2, steps_taken=1, loss_sum=0.5, gradient_norm_sum=1.5, nonfinite_steps=1)
    state.history = [
        EpochRecord(
            epoch=1,
            loss=None,
            learning_rate=0.1,
            gradient_norm=None,
            nonfinite_steps=3,
            validation_dsc=None,
            seconds=1.0,
        )
    ]
    state.best = Best(epoch=1, validation_dsc=0.5, weights=state.network.state_dict())
    Checkpoints(tmp_path, IDENTITY).save(state.as_dict())
    expected = random.random(), np.random.random(), torch.rand(1)

    other = _state(1)
    random.seed(5), np.random.seed(5)
    saved = Checkpoints(tmp_path, IDENTITY).load()
    assert saved is not None
    other.restore(saved)
    assert (random.random(), np.random.random(), torch.rand(1)) == expected
    torch.testing.assert_close(other.network.state_dict(), state.network.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(other.optimizer.state_dict(), state.optimizer.state_dict(), rtol=0, atol=0)
    for name in ("epoch", "nonfinite_in_row", "run_id", "tally", "history"):
        assert getattr(other, name) == getattr(state, name)
    assert other.best is not None
    assert (other.best.epoch, other.best.validation_dsc) == (1, 0.5)
    torch.testing.assert_close(other.best.weights, dict(state.network.state_dict()), rtol=0, atol=0)
    assert other.scaler.get_scale() == 128
    assert Decision(**saved["precision"]) == state.precision
    assert Switches(**saved["switches"]) == state.switches


def test_a_checkpoint_with_a_key_that_is_no_longer_used_is_resumed() -> None:
    """Those of former versions say whether the training was done."""
    state, other = _state(0), _state(1)
    other.restore({**state.as_dict(), "done": True})
    torch.testing.assert_close(other.network.state_dict(), state.network.state_dict(), rtol=0, atol=0)
    assert "done" not in other.as_dict()


def test_there_is_nothing_to_load_before_the_first_save(tmp_path: Path) -> None:
    """A fresh training starts at the beginning."""
    assert Checkpoints(tmp_path, IDENTITY).load() is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "foreign", "another format"])
def test_a_damaged_checkpoint_is_set_aside_with_a_notice_and_the_one_before_serves(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk may spoil a file: one flipped bit is noticed, nothing is deleted, one epoch is lost."""
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.save({"epoch": 1})
    checkpoints.save({"epoch": 2})
    file = tmp_path / NAME
    content = bytearray(file.read_bytes())
    flipped = content.copy()
    flipped[len(content) // 2] ^= 1
    damaged: bytes = {
        "cut": bytes(content[: len(content) // 2]),
        "flip": bytes(flipped),
        "empty": b"",
        "foreign": b"hello\nworld",
        "another format": bytes(content).replace(b"capillary-checkpoint-1", b"capillary-checkpoint-2", 1),
    }[damage]
    file.unlink()  # the previous one shares nothing with a new file
    file.write_bytes(damaged)

    assert checkpoints.load() == {"epoch": 1}
    assert "damaged" in capsys.readouterr().out
    assert (tmp_path / "checkpoint.unreadable.pt").read_bytes() == damaged


def test_two_damaged_checkpoints_start_the_training_anew_with_two_notices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is lost silently."""
    for name in (NAME, PREVIOUS):
        (tmp_path / name).write_bytes(b"")
    assert Checkpoints(tmp_path, IDENTITY).load() is None
    assert capsys.readouterr().out.count("is damaged") == 2


def test_the_previous_checkpoint_is_kept(tmp_path: Path) -> None:
    """Two generations, no more files, no leftovers."""
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    for epoch in range(3):
        checkpoints.save({"epoch": epoch})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([NAME, PREVIOUS])
    (tmp_path / NAME).unlink()
    assert checkpoints.load() == {"epoch": 1}


@pytest.mark.parametrize("change", [{"fingerprint": "xyz"}, {"fold": 1}, {"training.seed": 3}])
def test_another_trainings_checkpoint_is_refused_naming_the_difference(tmp_path: Path, change: dict[str, Any]) -> None:
    """Resuming across different inputs is impossible."""
    Checkpoints(tmp_path, IDENTITY).save({"epoch": 1})
    with pytest.raises(DataError) as refusal:
        Checkpoints(tmp_path, {**IDENTITY, **change}).load()
    (key,) = change
    assert f"{key}: {IDENTITY.get(key)} there, {change[key]} here" == refusal.value.value
    assert refusal.value.file == tmp_path / NAME


def test_the_checkpoint_before_is_refused_to_another_training_as_well(tmp_path: Path) -> None:
    """A spoilt checkpoint must not open a door to a foreign one."""
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    for epoch in range(2):
        checkpoints.save({"epoch": epoch})
    (tmp_path / NAME).write_bytes(b"")
    with pytest.raises(DataError) as refusal:
        Checkpoints(tmp_path, {**IDENTITY, "fold": 1}).load()
    assert refusal.value.file == tmp_path / PREVIOUS


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """Files of the size of a checkpoint would pile up; the state folder holds others' files as well."""
    left, other = tmp_path / f".{NAME}.123.tmp", tmp_path / "system.csv"
    left.touch()
    other.touch()
    Checkpoints(tmp_path, IDENTITY).save({"epoch": 1})
    Checkpoints(tmp_path, IDENTITY).load()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([NAME, other.name])


def test_a_checkpoint_says_which_versions_wrote_it(tmp_path: Path) -> None:
    """For whoever has to find out why an old one does not load."""
    Checkpoints(tmp_path, IDENTITY).save({"epoch": 1})
    _, _, payload = (tmp_path / NAME).read_bytes().partition(b"\n")
    versions = torch.load(io.BytesIO(payload))["versions"]
    assert versions == {package: metadata.version(package) for package in ("torch", "monai", "numpy")}


def test_a_checkpoint_runs_no_code_when_it_is_loaded(tmp_path: Path) -> None:
    """Only tensors and plain values come back."""
    Checkpoints(tmp_path, IDENTITY).save({"epoch": Path("not plain")})
    with pytest.raises(Exception, match=r"weights_only|Unsupported"):
        Checkpoints(tmp_path, IDENTITY).load()
