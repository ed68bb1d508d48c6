"""A node carries out a job as the launcher would, and says how it ended."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.executors.process import execute as process
from capillary.lifetimes.stop import Stop
from capillary.places.job import read_job, refuse_changed
from capillary.places.node.work import MOST_IN_VAIN, NO_CHECKPOINTS, run_job
from capillary.places.outcome import Attempt, attempts, read_circumstances, read_ended, write_attempt
from capillary.planning.plan import StagePlan
from stages.common.errors import DamagedError, ExitCode
from stages.common.machine.cpu import cpu_model
from stages.common.runtime import ORDER_FILE, Messages, order_json, read_order
from stages.common.tracking.system_metrics import LOAD_FILE
from stages.train.resuming.lock import cell_lock
from tests.unit.capillary.places.conftest import ACCESS, Write


def test_a_node_runs_the_job_and_leaves_its_outs_whole(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then who did it and when; a second attempt at a job that has ended runs nothing."""
    monkeypatch.setenv("TOY_TOKEN", "t")
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    folder = write(variables={"TOY_TOKEN": "t"}, access=ACCESS)
    assert run_job(folder, Stop()) == 0
    assert (folder / "outs/data/out/text").read_text() == "data/in.txtt"
    ended = read_ended(folder)
    assert ended is not None
    assert (ended.code, ended.node) == (0, "n7")
    found = read_circumstances(folder)
    assert found is not None
    assert (found.environment, found.cpu) == (read_job(folder).environment_id, cpu_model())
    assert found.packages["pytest"] == pytest.__version__
    (folder / "circumstances.json").write_text('{"cpu": "\x1b[2J"}')
    assert read_circumstances(folder) is None
    (folder / "circumstances.json").unlink()
    (folder / "circumstances.json").symlink_to("ended.json")
    assert read_circumstances(folder) is None
    assert run_job(folder, Stop()) == 0
    assert len(list(attempts(folder))) == 1
    assert list((folder / ".capillary/sandbox").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: (root / "stages/toy/more.py").write_text("x"), "stages is different"),
        (lambda root: (root / "data/in.txt").unlink(), "data/in.txt is missing"),
        (lambda root: (root / "data/in.txt").write_text("DATA/in.txt"), "data/in.txt is different"),
    ],
)
def test_a_dep_that_changed_in_the_queue_stops_the_job(
    write: Write, root: Path, capfd: pytest.CaptureFixture[str], change: Callable[[Path], None], words: str
) -> None:
    """Before anything is computed; compiled code that came meanwhile is not a change."""
    folder = write()
    (root / "stages/toy/__pycache__").mkdir()
    (root / "stages/toy/__pycache__/x.pyc").touch()
    refuse_changed(read_job(folder))
    change(root)
    assert run_job(folder, Stop()) == ExitCode.DATA
    assert words in capfd.readouterr().err
    assert not (folder / "outs").exists()


def test_other_packages_on_the_node_are_refused(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    """They decide a result, like the code."""
    folder = write()
    job = read_job(folder)
    (folder / "job.json").write_text(job.model_copy(update={"environment_id": ("2.7", "vax")}).model_dump_json())
    assert run_job(folder, Stop()) == ExitCode.MACHINE
    assert "planned for 2.7 vax" in capfd.readouterr().err


def test_a_node_speaks_as_the_order_of_its_job_says(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    """In JSON, with the stage, also of what ends the job before a stage starts."""
    folder = write()
    asked = dataclasses.replace(read_order(folder / ORDER_FILE), messages=Messages(form="json"))
    (folder / ORDER_FILE).write_bytes(order_json(asked))
    (folder / "job.json").write_text(read_job(folder).model_copy(update={"environment_id": ("2.7",)}).model_dump_json())
    assert run_job(folder, Stop()) == ExitCode.MACHINE
    [line] = capfd.readouterr().err.splitlines()
    assert {"stage": asked.stage, "exit_code": ExitCode.MACHINE}.items() <= json.loads(line).items()


@pytest.mark.parametrize(
    ("resume", "saves", "attempt", "asked_by_head", "again"),
    [
        (True, True, 3, False, True),
        (True, False, 2, False, True),
        (True, False, 3, False, False),
        (False, True, 1, False, False),
        (True, True, 1, True, False),
    ],
)
def test_a_job_that_is_cut_short_is_run_again_if_that_helps(
    write: Write,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    resume: bool,
    saves: bool,
    attempt: int,
    asked_by_head: bool,
    again: bool,
) -> None:
    """Unless the head asked for the end, the stage cannot resume, or three attempts wrote no checkpoint."""
    state = root / ".capillary/state/toy"
    folder = write(access=ACCESS.model_copy(update={"resume": resume}), writable=(state,), state_dir=state)
    for _ in range(attempt - 1):
        write_attempt(folder, Attempt(node="n1", started=1.0))
    stop = Stop()

    def cut_short(_plan: StagePlan, stop: Stop, _publish: object) -> int:
        state.mkdir(parents=True)
        if saves:
            (state / "checkpoint").touch()
            os.utime(state / "checkpoint", (5e9, 5e9))
        if asked_by_head:
            (folder / "stop").touch()
        stop.receive(signal.SIGTERM, None)
        return 143

    monkeypatch.setattr(process, "execute", cut_short)
    assert run_job(folder, stop) == 143
    assert (read_ended(folder) is None) == again


def test_the_lock_of_a_training_is_no_checkpoint(write: Write, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt takes it and samples its load anew; a job that gets no further must not return for ever."""
    state = root / ".capillary/state/toy"
    folder = write(access=ACCESS, writable=(state,), state_dir=state)

    def cut_short(_plan: StagePlan, stop: Stop, _publish: object) -> int:
        with cell_lock(state):
            (state / LOAD_FILE).write_text("time,cpu\n")
        stop.receive(signal.SIGTERM, None)
        return 143

    monkeypatch.setattr(process, "execute", cut_short)
    ended = []
    for _ in range(MOST_IN_VAIN):
        assert run_job(folder, Stop()) == 143
        ended.append(read_ended(folder) is not None)
    assert ended == [False, False, True]
    assert {file.name for file in state.iterdir()} == NO_CHECKPOINTS


def test_a_job_that_was_asked_to_end_in_the_queue_computes_nothing(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal went to a job that waited, and was lost; the mark is not."""
    folder = write(access=ACCESS)
    (folder / "stop").touch()
    ran: list[StagePlan] = []
    monkeypatch.setattr(process, "execute", lambda plan, *_: ran.append(plan) or 0)
    assert run_job(folder, Stop()) == ExitCode.TERMINATED
    assert ran == []
    assert read_ended(folder) is not None


def test_the_folder_of_no_job_is_refused(tmp_path: Path) -> None:
    """With the file that is missing."""
    with pytest.raises(DamagedError, match="not written by this version"):
        run_job(tmp_path, Stop())
