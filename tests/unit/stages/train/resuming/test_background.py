import multiprocessing
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.train.resuming.background import BackgroundCheckpoints, copied
from stages.train.resuming.checkpoint import NAME, Checkpoints

IDENTITY = {"fingerprint": "abc"}
KILLS = 12


class _Held(Checkpoints):
    """Checkpoints whose disk waits for `disk`, and counts the writes at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, IDENTITY)
        self.disk = threading.Event()
        self.writing = self.most_writing = 0

    def save(self, state: dict[str, Any]) -> None:
        self.writing += 1
        self.most_writing = max(self.most_writing, self.writing)
        self.disk.wait(10)
        super().save(state)
        self.writing -= 1


def test_the_training_goes_on_while_the_disk_is_slow_and_changes_nothing_that_is_written(tmp_path: Path) -> None:
    """`save` returns at once; what is written is the state as it was then; `wait` returns when it is there."""
    held = _Held(tmp_path)
    weights = torch.arange(4.0)
    with BackgroundCheckpoints(held) as checkpoints:
        checkpoints.save({"weights": weights, "epoch": 1})
        weights.zero_()
        assert not (tmp_path / NAME).exists()
        held.disk.set()
        checkpoints.wait()
        saved = held.load()
    assert saved is not None
    assert torch.equal(saved["weights"], torch.arange(4.0))


def test_one_write_is_on_its_way_at_most_and_the_end_waits_for_the_last(tmp_path: Path) -> None:
    """A second checkpoint waits for the first, so a slow disk cannot pile up copies of the state in memory."""
    held = _Held(tmp_path)
    threading.Timer(0.2, held.disk.set).start()
    with BackgroundCheckpoints(held) as checkpoints:
        for epoch in range(3):
            checkpoints.save({"epoch": epoch})
    assert held.most_writing == 1
    saved = held.load()
    assert saved is not None
    assert saved["epoch"] == 2


@pytest.mark.parametrize("when", ["next", "wait", "end"])
def test_a_write_that_fails_is_raised_by_the_next_call_or_at_the_end(tmp_path: Path, when: str) -> None:
    """A full disk stops the training; it is not found out when the checkpoint is needed."""
    place = tmp_path / "file"
    place.write_text("a file where the folder should be")

    def use(checkpoints: BackgroundCheckpoints) -> None:
        checkpoints.save({"epoch": 1})
        if when == "next":
            checkpoints.save({"epoch": 2})
        elif when == "wait":
            checkpoints.wait()

    with pytest.raises(OSError, match="file"), BackgroundCheckpoints(Checkpoints(place, IDENTITY)) as checkpoints:
        use(checkpoints)


def test_a_copy_shares_no_memory_with_its_source_and_keeps_what_is_one_tensor_one() -> None:
    """A network lists some weights under two names; plain values and the kinds of containers stay."""
    tensor = torch.rand(3)
    source = {"a": tensor, "b": [tensor, (1, None, "x")], "c": tensor[:2]}
    copy = copied(source)
    tensor.zero_()
    assert copy["a"] is copy["b"][0]
    assert copy["b"][1] == (1, None, "x")
    assert bool((copy["a"] != 0).any())
    assert bool((copy["c"] != 0).any())


def _save_on_and_on(folder: Path) -> None:
    torch.set_num_threads(1)  # a fork has none of its parent's threads, for which torch would wait
    with BackgroundCheckpoints(Checkpoints(folder, IDENTITY)) as checkpoints:
        for epoch in range(1_000_000):
            checkpoints.save({"epoch": epoch, "weights": torch.full((50_000,), float(epoch))})


def test_kills_at_random_moments_leave_a_whole_checkpoint_and_nothing_older_than_the_one_before(tmp_path: Path) -> None:
    """kill -9 while it copies, writes, flushes, renames: what is loaded is one epoch through and through."""
    draw, reached = random.Random(time.time_ns()), -1
    for _ in range(KILLS):
        process = multiprocessing.get_context("fork").Process(target=_save_on_and_on, args=(tmp_path,))
        process.start()
        time.sleep(draw.uniform(0.02, 0.2))
        process.kill()
        process.join()
        saved = Checkpoints(tmp_path, IDENTITY).load()
        if saved is not None:
            assert torch.equal(saved["weights"], torch.full((50_000,), float(saved["epoch"])))
            reached = max(reached, saved["epoch"])
    assert reached >= 0, "no checkpoint was ever written"
    assert not [file.name for file in tmp_path.iterdir() if "unreadable" in file.name or "tmp" in file.name]
