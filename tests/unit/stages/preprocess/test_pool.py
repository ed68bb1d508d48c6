"""Volumes on several processes: the same bytes whatever their number, and an end to all when one fails."""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tifffile

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.preprocess import pool
from stages.preprocess.pool import prepared_volumes
from stages.preprocess.prepare import Prepared, Task
from tests.unit.stages.preprocess.tiny_tasks import make_task

SHAPES = {"small": (4, 20, 20), "large": (8, 40, 40), "middle": (6, 30, 30), "other": (6, 30, 30)}


def make_tasks(folder: Path) -> list[Task]:
    """Four tasks of three sizes."""
    return [make_task(folder, name, shape) for name, shape in SHAPES.items()]


def digests(folder: Path) -> dict[str, str]:
    """Checksums of all files below `folder`."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.npy"))
    }


def run(tasks: list[Task], workers: int) -> list[Prepared]:
    """All results, in the order in which they came."""
    with prepared_volumes(tasks, workers) as results:
        return list(results)


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    """One process and four write the same files and report the same numbers."""
    alone = run(make_tasks(tmp_path / "one"), workers=1)
    together = run(make_tasks(tmp_path / "four"), workers=4)
    assert len(digests(tmp_path / "one")) == 12
    assert digests(tmp_path / "one") == digests(tmp_path / "four")
    numbers = [
        {done.task.raw.id: (done.foreground_share, done.checksums) for done in all_} for all_ in (alone, together)
    ]
    assert numbers[0] == numbers[1]


def test_the_largest_volume_comes_first(tmp_path: Path) -> None:
    """Largest first, equal sizes by name: the last to end is a small one."""
    order = [done.task.raw.id for done in run(make_tasks(tmp_path), workers=1)]
    assert order == ["large", "middle", "other", "small"]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failing_volume_names_itself(tmp_path: Path, workers: int) -> None:
    """A corrupt stack is reported with volume, file and remedy, from a worker as from the stage itself."""
    tasks = make_tasks(tmp_path)
    tasks[2].raw.image.write_bytes(b"II*\0 cut")
    with pytest.raises(CapillaryError, match="volume middle") as caught:
        run(tasks, workers)
    assert caught.value.code == ExitCode.DATA
    assert str(tasks[2].raw.image) in caught.value.report()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 3])
def test_a_defect_keeps_its_type_and_names_the_volume(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody foresaw is not dressed up: type and traceback stay, a note names the volume."""

    def broken(_task: Task) -> Prepared:
        return 1 / 0  # type: ignore[return-value]  # the defect

    monkeypatch.setattr(pool, "prepare", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        run([make_task(tmp_path, "first"), make_task(tmp_path, "second")], workers)
    assert any("while preparing volume" in note for note in caught.value.__notes__)


def _sleep(_task: Task) -> Prepared:
    time.sleep(60)
    raise AssertionError("nobody ended this worker")


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@contextlib.contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Ctrl-C to this process alone, which pytest's own keys would not survive."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, former)


def test_leaving_early_ends_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while volumes are in hand: no waiting for them, no process left behind."""
    monkeypatch.setattr(pool, "prepare", _sleep)
    tasks = make_tasks(tmp_path)
    with at_most(5), interrupted_after(0.3), pytest.raises(KeyboardInterrupt):
        run(tasks, workers=2)
    assert not multiprocessing.active_children()


def _die(_task: Task) -> Prepared:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def test_a_killed_worker_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system's out-of-memory killer leaves is an error with the remedy, not a hang or a pool's traceback."""
    monkeypatch.setattr(pool, "prepare", _die)
    with at_most(10), pytest.raises(CapillaryError, match="a worker process was killed") as caught:
        run(make_tasks(tmp_path), workers=2)
    assert caught.value.code == ExitCode.MACHINE
    assert "CAPILLARY_WORKERS=1" in caught.value.remedy
    assert "large" in str(caught.value.value)


def test_a_full_memory_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that cannot be allocated names its volume."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr("stages.preprocess.prepare.read_stack", refuse)
    with pytest.raises(CapillaryError, match="volume large: does not fit into memory") as caught:
        run(make_tasks(tmp_path), workers=1)
    assert caught.value.code == ExitCode.MACHINE


def test_a_stack_of_another_shape_is_a_data_error_across_processes(tmp_path: Path) -> None:
    """Exit codes survive the way back from a worker."""
    tasks = make_tasks(tmp_path)
    tifffile.imwrite(tasks[0].raw.label, tifffile.imread(tasks[0].raw.label)[:2], photometric="minisblack")
    with pytest.raises(CapillaryError) as caught:
        run(tasks, workers=2)
    assert caught.value.code == DataError("", remedy="").code
    assert "volume small" in caught.value.report()
