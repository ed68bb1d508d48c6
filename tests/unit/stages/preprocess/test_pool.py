"""Volumes on several processes: the same bytes whatever their number, and an end to all when one fails."""

import concurrent.futures
import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import tifffile

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.volumes import Checksums
from stages.preprocess import pool
from stages.preprocess.pool import prepared_volumes
from stages.preprocess.prepare import Prepared, Task
from tests.unit.stages.preprocess.tiny_tasks import make_task

SHAPES = {"small": (4, 20, 20), "large": (8, 40, 40), "middle": (6, 30, 30), "other": (6, 30, 30)}
FORK = multiprocessing.get_context("fork")  # forked workers share events created before


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


@pytest.mark.parametrize(("volumes", "workers", "processes"), [(4, 1, 0), (1, 8, 0), (2, 8, 2), (4, 3, 3)])
def test_there_are_no_more_processes_than_volumes(tmp_path: Path, volumes: int, workers: int, processes: int) -> None:
    """One volume or one worker runs in this process; workers exit with 0 when the work is done."""
    with prepared_volumes(make_tasks(tmp_path)[:volumes], workers) as results:
        started = multiprocessing.active_children()
        assert len(list(results)) == volumes
    assert [worker.exitcode for worker in started] == [0] * processes


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failing_volume_names_itself(tmp_path: Path, workers: int) -> None:
    """A corrupt stack is reported with volume, file and remedy, from a worker as from the stage itself."""
    tasks = make_tasks(tmp_path)
    tasks[2].raw.image.write_bytes(b"II*\0 cut")
    with pytest.raises(CapillaryError, match=r"^volume middle: the file is damaged") as caught:
        run(tasks, workers)
    assert caught.value.code == ExitCode.DATA
    assert caught.value.file == tasks[2].raw.image
    assert "copy of the original" in caught.value.remedy
    assert not multiprocessing.active_children()


def test_a_stack_of_another_shape_is_a_data_error_across_processes(tmp_path: Path) -> None:
    """Exit code, value and remedy survive the way back from a worker; the volume is named once."""
    tasks = make_tasks(tmp_path)
    tifffile.imwrite(tasks[0].raw.label, tifffile.imread(tasks[0].raw.label)[:2], photometric="minisblack")
    with pytest.raises(CapillaryError) as caught:
        run(tasks, workers=2)
    assert caught.value.code == DataError("", remedy="").code
    assert caught.value.what.count("volume small") == 1
    assert caught.value.value == "(2, 20, 20) instead of (4, 20, 20)"
    assert "dvc repro ingest" in caught.value.remedy


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


def test_ctrl_c_while_workers_start_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first worker is at work already when the second volume is handed over."""
    submit = concurrent.futures.ProcessPoolExecutor.submit
    handed_over: list[object] = []

    def interrupted(executor: concurrent.futures.ProcessPoolExecutor, *work: object) -> object:
        if handed_over:
            raise KeyboardInterrupt
        handed_over.append(work)
        return submit(executor, time.sleep, 600)

    monkeypatch.setattr(concurrent.futures.ProcessPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(make_tasks(tmp_path), workers=2)
    assert not multiprocessing.active_children()


def test_a_full_memory_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that cannot be allocated names its volume."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr("stages.preprocess.prepare.read_stack", refuse)
    with pytest.raises(CapillaryError, match="volume large: does not fit into memory") as caught:
        run(make_tasks(tmp_path), workers=1)
    assert caught.value.code == ExitCode.MACHINE


def done_at_once(task: Task) -> Prepared:
    """A result without any work."""
    return Prepared(task=task, foreground_share=0.5, checksums=Checksums(image="", label="", skeleton=""))


def take_long() -> Prepared:
    """A volume that outlasts the test: a worker that is not terminated exits with 0."""
    time.sleep(30)
    os._exit(0)


def run_watched(tasks: list[Task], started: list[BaseProcess], is_first_done: Event | None = None) -> None:
    """Run two workers, which are added to `started`; set `is_first_done` after the first result."""
    with prepared_volumes(tasks, 2) as results:
        started += multiprocessing.active_children()
        if is_first_done is not None:
            next(results)
            is_first_done.set()
        list(results)


@pytest.fixture
def usr1_is_ctrl_c() -> Iterator[None]:
    """SIGUSR1 raises KeyboardInterrupt here; pytest handles SIGINT itself."""
    former = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, former)


@pytest.mark.usefixtures("usr1_is_ctrl_c")
def test_ctrl_c_ends_the_workers_in_the_middle_of_their_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are terminated, not waited for, and no process is left."""
    is_waiting, stage = FORK.Event(), os.getpid()

    def prepare(task: Task) -> Prepared:
        if task.raw.id == "large":
            return done_at_once(task)
        is_waiting.wait()
        if task.raw.id == "middle":
            os.kill(stage, signal.SIGUSR1)
        return take_long()

    monkeypatch.setattr(pool, "prepare", prepare)
    workers: list[BaseProcess] = []
    with pytest.raises(KeyboardInterrupt):
        run_watched(make_tasks(tmp_path), workers, is_waiting)
    assert [worker.exitcode for worker in workers] == [-signal.SIGTERM] * 2
    assert not multiprocessing.active_children()


def test_the_first_failure_ends_the_other_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised at once, and workers on other volumes are terminated."""
    is_at_work = FORK.Event()

    def prepare(task: Task) -> Prepared:
        if task.raw.id == "large":
            is_at_work.wait()
            raise DataError("cut", remedy="copy it again")
        is_at_work.set()
        return take_long()

    monkeypatch.setattr(pool, "prepare", prepare)
    workers: list[BaseProcess] = []
    with pytest.raises(CapillaryError, match="volume large: cut"):
        run_watched(make_tasks(tmp_path), workers)
    assert [worker.exitcode for worker in workers] == [-signal.SIGTERM] * 2


def test_other_processes_of_the_program_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving early ends only the workers of this pool, not other children of the process."""
    is_over = FORK.Event()
    bystander = FORK.Process(target=is_over.wait)
    bystander.start()
    monkeypatch.setattr(pool, "prepare", lambda _task: take_long())
    with pytest.raises(KeyboardInterrupt), prepared_volumes(make_tasks(tmp_path), 2):
        raise KeyboardInterrupt
    assert multiprocessing.active_children() == [bystander]
    is_over.set()
    bystander.join()
    assert bystander.exitcode == 0


def test_ctrl_c_ends_a_worker_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGINT kills a worker directly, without a traceback."""

    def prepare(_task: Task) -> Prepared:
        os.kill(os.getpid(), signal.SIGINT)
        return take_long()

    monkeypatch.setattr(pool, "prepare", prepare)
    workers: list[BaseProcess] = []
    with pytest.raises((CapillaryError, KeyboardInterrupt)) as caught:
        run_watched(make_tasks(tmp_path), workers)
    assert "a worker process was killed" in str(caught.value)
    assert -signal.SIGINT in {worker.exitcode for worker in workers}
    assert capfd.readouterr() == ("", "")


def test_a_killed_worker_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker killed for lack of memory gives an error with a remedy and the unfinished volumes.

    The other workers are terminated, so the stage does not hang.
    """
    is_large_done = FORK.Event()

    def prepare(task: Task) -> Prepared:
        if task.raw.id == "large":
            return done_at_once(task)
        is_large_done.wait()
        if task.raw.id == "middle":
            os.kill(os.getpid(), signal.SIGKILL)
        return take_long()

    monkeypatch.setattr(pool, "prepare", prepare)
    workers: list[BaseProcess] = []
    with pytest.raises(CapillaryError, match="a worker process was killed") as caught:
        run_watched(make_tasks(tmp_path), workers, is_large_done)
    assert caught.value.code == ExitCode.MACHINE
    assert "CAPILLARY_WORKERS=1" in caught.value.remedy
    assert caught.value.value == "working on some of: middle, other"
    assert sorted(worker.exitcode or 0 for worker in workers) == [-signal.SIGTERM, -signal.SIGKILL]
