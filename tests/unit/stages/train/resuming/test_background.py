import contextlib
import ctypes
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
KILLS = 8


class _Held(Checkpoints):
    """Checkpoints whose disk waits for `disk`; `written` lists the epochs that are on it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, IDENTITY)
        self.disk = threading.Event()
        self.written: list[int] = []

    def save(self, state: dict[str, Any]) -> None:
        self.disk.wait(10)
        super().save(state)
        self.written.append(state["epoch"])


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
    threading.Timer(0.05, held.disk.set).start()
    with BackgroundCheckpoints(held) as checkpoints:
        for epoch in range(3):
            checkpoints.save({"epoch": epoch})
            assert held.written[:epoch] == list(range(epoch))
    assert held.written == [0, 1, 2]
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


@pytest.mark.parametrize("folder", ["a folder", "a file"])
def test_no_thread_outlives_the_block(tmp_path: Path, folder: str) -> None:
    """Not after a whole write, and not after one that failed."""
    place = tmp_path / folder
    if folder == "a file":
        place.touch()
    before = set(threading.enumerate())
    with contextlib.suppress(OSError), BackgroundCheckpoints(Checkpoints(place, IDENTITY)) as checkpoints:
        checkpoints.save({"epoch": 1})
    assert set(threading.enumerate()) == before


def test_a_copy_shares_no_memory_with_its_source_and_keeps_what_is_one_tensor_one() -> None:
    """A network lists some weights under two names; plain values and the kinds of containers stay."""
    tensor = torch.rand(3, requires_grad=True)
    source = {"a": tensor, "b": [tensor, (1, None, "x")]}
    copy = copied(source)
    with torch.no_grad():
        tensor.zero_()
    assert copy["a"] is copy["b"][0]
    assert copy["b"][1] == (1, None, "x")
    assert (copy["a"] != 0).all()
    assert not copy["a"].requires_grad


def test_views_of_the_same_memory_are_copied_each_as_it_is() -> None:
    """Tensors that begin at one address can differ in extent, order and type; none is taken for another."""
    tensor = torch.arange(1.0, 10.0).reshape(3, 3)
    views = {
        "whole": tensor,
        "row": tensor[:1],
        "turned": tensor.t(),
        "flat": tensor.view(9),
        "bits": tensor.view(torch.int32),
    }
    copy = copied(views)
    assert {view.data_ptr() for view in views.values()} == {tensor.data_ptr()}
    for name, view in views.items():
        assert copy[name].dtype == view.dtype, name
        assert torch.equal(copy[name], view), name


def _save_on_and_on(folder: Path, kept: ctypes.c_longlong) -> None:
    """Checkpoints without end; `kept` is an epoch that is on the disk for certain."""
    torch.set_num_threads(1)  # a fork has none of its parent's threads, for which torch would wait
    with BackgroundCheckpoints(Checkpoints(folder, IDENTITY)) as checkpoints:
        for epoch in range(1_000_000):
            checkpoints.save({"epoch": epoch, "weights": torch.full((50_000,), float(epoch))})
            kept.value = epoch - 1


@pytest.mark.parametrize("seed", [20])
def test_kills_at_random_moments_leave_a_whole_checkpoint_and_nothing_older_than_the_one_before(
    tmp_path: Path, seed: int
) -> None:
    """kill -9 while it copies, writes, flushes, renames: what is loaded is one epoch through and through."""
    draw, fork = random.Random(seed), multiprocessing.get_context("fork")
    for turn in range(KILLS):
        folder, kept = tmp_path / str(turn), fork.Value(ctypes.c_longlong, -1, lock=False)
        process = fork.Process(target=_save_on_and_on, args=(folder, kept))
        process.start()
        while kept.value < 0:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.join()
        saved = Checkpoints(folder, IDENTITY).load()
        assert saved is not None
        assert saved["epoch"] >= kept.value
        assert torch.equal(saved["weights"], torch.full((50_000,), float(saved["epoch"])))
        assert not [file.name for file in folder.iterdir() if "unreadable" in file.name or "tmp" in file.name]
