"""A job's folder holds the whole plan but its secrets, and a node carries it out as the launcher would."""

import dataclasses
import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.executors.process import execute as process
from capillary.lifetimes.stop import Stop
from capillary.places import work
from capillary.places.job import Handover, job_folder, plan_of, read_job, refuse_changed, write_job
from capillary.places.nodes import (
    choose_meeting,
    forget_peers,
    interface_of,
    joint_code,
    rendezvous_of,
    source_towards,
    wait_for_codes,
)
from capillary.places.outcome import Attempt, attempts, read_circumstances, read_ended, write_attempt
from capillary.places.peer import run_peer
from capillary.places.room import is_full, lacked_space
from capillary.places.work import MOST_IN_VAIN, NO_CHECKPOINTS, run_job
from capillary.planning.access import StageAccess
from capillary.planning.plan import Dep, StagePlan
from capillary.planning.provenance import forget, with_provenance
from capillary.settings import ExecutorName, PlaceName, read_settings
from stages.common.errors import CapillaryError, DamagedError, ExitCode
from stages.common.machine.cpu import cpu_model
from stages.common.runtime import ORDER_FILE, Compute, Messages, Rendezvous, order_json, read_order
from stages.common.tracking.system_metrics import LOAD_FILE
from stages.train.resuming.lock import cell_lock

ACCESS = StageAccess(
    network="tracking",
    env=("MLFLOW_*", "TOY_*"),
    env_from={"AWS_*": "ARTIFACTS_AWS_*"},
    resume=True,
    gpu="none",
    memory_gb=None,
    pids=256,
    shm_gb=0.0625,
)
STAGE = """
import os, sys
from pathlib import Path
Path("data/out").mkdir()
Path("data/out/text").write_text(Path("data/in.txt").read_text() + os.environ.get("TOY_TOKEN", ""))
{more}
"""
MEETING = Rendezvous(node=1, host="127.0.0.1", port=29400, interface="lo")
Make = Callable[..., StagePlan]
Write = Callable[..., Path]


@pytest.fixture
def write(make_plan: Make, root: Path) -> Write:
    """The folder of a written job whose stage runs `more` after it made its out."""

    def write(more: str = "", *, variables: dict[str, str] | None = None, **changes: object) -> Path:
        for name, text in {
            "__init__.py": "",
            "toy/__init__.py": "",
            "toy/__main__.py": STAGE.format(more=more),
        }.items():
            (root / "stages" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "stages" / name).write_text(text)
        settings = read_settings(root, variables or {})
        environment = {name: settings.variables[name] for name in variables or {} if name.startswith("TOY_")}
        plan = make_plan("data/in.txt", "stages", environment=environment, **changes)
        folder = job_folder(plan)
        identity = process.environment_id(root, "toy", plan.access)
        write_job(
            plan,
            folder,
            Handover(place=PlaceName.SLURM, executor=ExecutorName.PROCESS, environment_id=identity, settings=settings),
        )
        return folder

    return write


def test_a_job_holds_names_of_variables_and_no_value(write: Write, root: Path) -> None:
    """What .env has is read there by the node; the rest comes in its environment, under the user's own names."""
    (root / ".env").write_text("TOY_KEY=in-the-file\n")
    secrets = {"TOY_TOKEN": "s3cr3t", "ARTIFACTS_AWS_SECRET_ACCESS_KEY": "k3y", "TOY_KEY": "in-the-file"}
    folder = write(variables=secrets, access=ACCESS, needs_network=True)
    job = read_job(folder)
    assert job.exported() == ["ARTIFACTS_AWS_SECRET_ACCESS_KEY", "TOY_TOKEN"]
    assert {name: (each.name, each.kept_in) for name, each in job.variables.items()} == {
        "AWS_SECRET_ACCESS_KEY": ("ARTIFACTS_AWS_SECRET_ACCESS_KEY", "environment"),
        "TOY_KEY": ("TOY_KEY", "file"),
        "TOY_TOKEN": ("TOY_TOKEN", "environment"),
    }
    kept = "".join(file.read_text() for file in folder.iterdir())
    assert not any(value in kept for value in secrets.values())


def test_a_node_makes_the_same_plan_of_it(write: Write, make_plan: Make, root: Path) -> None:
    """But for the folder of sandboxes, logs and locks, which is the job's own."""
    variables = {"TOY_TOKEN": "t"}
    folder = write(variables=variables, access=ACCESS)
    plan = make_plan("data/in.txt", "stages", access=ACCESS, environment=variables)
    found = plan_of(read_job(folder), folder, read_settings(root, variables), {})
    assert found == dataclasses.replace(plan, repository=folder, order=found.order)
    assert found.order == read_order(folder / "order.json") == plan.order


def test_a_file_of_the_head_travels_with_the_job(make_plan: Make, root: Path) -> None:
    """The head may end first, and its file with it; the job has a copy, and compares it as any dep."""
    file = root / "request.json"
    file.write_text("{}")
    plan = dataclasses.replace(make_plan(), deps=(Dep(name="request.json", host=file, is_carried=True),))
    settings = read_settings(root, {})
    handover = Handover(place=PlaceName.RAY, executor=ExecutorName.PROCESS, environment_id=(), settings=settings)
    job = write_job(plan, job_folder(plan), handover)
    file.unlink()
    refuse_changed(job)
    (dep,) = plan_of(job, job_folder(plan), settings, {}).deps
    assert dep.host is not None
    assert dep.host.read_text() == "{}"
    dep.host.write_text("[]")
    with pytest.raises(CapillaryError, match=r"request.json is different"):
        refuse_changed(job)


def test_where_a_run_comes_from_travels_with_the_job(make_plan: Make, root: Path) -> None:
    """A head whose terminal is closed removes its files, and the job may still wait in the queue."""
    (root / "params.yaml").write_text("key: 1\n")
    settings = read_settings(root, {})
    plan = with_provenance(make_plan("data/in.txt", access=ACCESS), [], settings)
    handover = Handover(place=PlaceName.SLURM, executor=ExecutorName.PROCESS, environment_id=(), settings=settings)
    job = write_job(plan, job_folder(plan), handover)
    forget(plan)
    refuse_changed(job)
    handed = plan_of(job, job_folder(plan), settings, {}).deps[-1]
    assert handed.host is not None
    assert (handed.host / "params.yaml").read_text() == "key: 1\n"


def test_a_variable_that_did_not_reach_the_node_is_named(write: Write, root: Path) -> None:
    """With the way in which it will."""
    folder = write(variables={"TOY_TOKEN": "t"}, access=ACCESS)
    with pytest.raises(CapillaryError, match="TOY_TOKEN is not in the environment of the job"):
        plan_of(read_job(folder), folder, read_settings(root, {}), {})


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


def test_a_node_speaks_as_the_order_of_its_job_says(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    """In JSON, with the stage, also of what ends the job before a stage starts."""
    folder = write()
    asked = dataclasses.replace(read_order(folder / ORDER_FILE), messages=Messages(form="json"))
    (folder / ORDER_FILE).write_bytes(order_json(asked))
    (folder / "job.json").write_text(read_job(folder).model_copy(update={"environment_id": ("2.7",)}).model_dump_json())
    assert run_job(folder, Stop()) == ExitCode.MACHINE
    [line] = capfd.readouterr().err.splitlines()
    assert {"stage": asked.stage, "exit_code": ExitCode.MACHINE}.items() <= json.loads(line).items()


def test_other_packages_on_the_node_are_refused(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    """They decide a result, like the code."""
    folder = write()
    job = read_job(folder)
    (folder / "job.json").write_text(job.model_copy(update={"environment_id": ("2.7", "vax")}).model_dump_json())
    assert run_job(folder, Stop()) == ExitCode.MACHINE
    assert "planned for 2.7 vax" in capfd.readouterr().err


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


class Others:
    """The other nodes of a job, which end with `codes`."""

    def __init__(self, *codes: int) -> None:
        self.codes = codes

    def start(self, _stop: Stop) -> Rendezvous:
        return MEETING

    def joined(self, code: int) -> int:
        return joint_code(code, self.codes)


@pytest.mark.parametrize(
    ("others", "attempt", "code", "ended_with"),
    [
        ([ExitCode.RANK_LOST], 1, ExitCode.RANK_LOST, None),
        ([137], 2, ExitCode.RANK_LOST, None),
        ([], MOST_IN_VAIN, ExitCode.MACHINE, ExitCode.MACHINE),
        ([ExitCode.RANK_LOST, ExitCode.DATA], 1, ExitCode.DATA, ExitCode.DATA),
    ],
)
def test_a_job_that_lost_a_node_is_run_again_unless_a_node_says_what_is_wrong(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    others: list[int],
    attempt: int,
    code: int,
    ended_with: int | None,
) -> None:
    """Three times without a checkpoint. What a stage was told of the others is where they meet."""
    folder = write(access=ACCESS, compute=Compute(processes=2, nodes=2))
    for _ in range(attempt - 1):
        write_attempt(folder, Attempt(node="n1", started=1.0))
    found: list[StagePlan] = []

    def lose(plan: StagePlan, _stop: Stop, _publish: object) -> int:
        found.append(plan)
        return ExitCode.RANK_LOST

    monkeypatch.setattr(process, "execute", lose)
    assert run_job(folder, Stop(), Others(*others)) == code
    ended = read_ended(folder)
    assert (None if ended is None else ended.code) == ended_with
    assert (found[0].order.rendezvous, found[0].needs_network) == (MEETING, True)


def test_another_node_runs_the_same_stage_without_outs(write: Write) -> None:
    """In a folder of its own, where its exit code stays; outs and the job's end are the first node's to write."""
    folder = write(compute=Compute(processes=2, nodes=2))
    assert run_peer(folder, MEETING, Stop()) == ExitCode.UNDECLARED
    assert wait_for_codes(folder, 2) == [ExitCode.UNDECLARED]
    assert not (folder / "outs").exists()
    assert read_ended(folder) is None
    forget_peers(folder)
    assert wait_for_codes(folder, 2, patience_s=0) == []


def test_an_address_leads_to_the_interface_by_which_it_is_reached() -> None:
    """The host's own name may be the loopback's on Debian, so it is not asked."""
    assert rendezvous_of(1, "127.0.0.1", 29400) == MEETING
    assert choose_meeting("127.0.0.1")[0] == "127.0.0.1"
    assert source_towards("no such host") is None
    assert interface_of(None) is None


@pytest.mark.parametrize("content", ["", "{}", '{"code": 999, "node": "n", "started": 0, "ended": 1}', "link", "pipe"])
def test_what_no_job_leaves_is_refused(tmp_path: Path, content: str) -> None:
    """A node may be anybody's: no link is followed, no pipe waited for."""
    file = tmp_path / "ended.json"
    if content == "link":
        file.symlink_to("/etc/hostname")
    elif content == "pipe":
        os.mkfifo(file)
    else:
        file.write_text(content)
    with pytest.raises(DamagedError, match="cannot be read"):
        read_ended(tmp_path)


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


@pytest.mark.parametrize(
    ("words", "code", "shared_full", "told"),
    [
        ("value: No space left on device", 6, False, True),
        ("RuntimeError: write(): Disk quota exceeded", 1, False, True),
        ("value: No space left on device", 6, True, False),
        ("value: No space left on device", 7, False, False),
        ("value: Permission denied", 6, False, False),
    ],
)
def test_a_node_whose_own_disk_is_full_is_named(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: str,
    code: int,
    shared_full: bool,
    told: bool,
) -> None:
    """Another one may have space, unless the disk that all share is full, or the fault is another."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = write()
    (folder / "log").write_text("a former attempt: No space left on device\n")
    monkeypatch.setattr(work, "is_full", lambda place: shared_full and place == folder)

    def fail(*_: object) -> int:
        with (folder / "log").open("a") as log:
            log.write(words)
        return code

    monkeypatch.setattr(process, "execute", fail)
    assert run_job(folder, Stop()) == code
    ended = read_ended(folder)
    assert ended is not None
    assert ended.full == (str(tmp_path) if told else "")


def test_a_disk_that_takes_nothing_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked by writing: quotas are in no count of free blocks. A folder that is missing is another fault."""
    assert not is_full(tmp_path)
    assert not is_full(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []
    for number in (errno.ENOSPC, errno.EDQUOT):
        monkeypatch.setattr(os, "posix_fallocate", lambda *_, number=number: _raise(number))
        assert is_full(tmp_path)
        assert lacked_space(6, tmp_path, tmp_path / "log", 0)
        assert not lacked_space(4, tmp_path, tmp_path / "log", 0)


def _raise(number: int) -> None:
    raise OSError(number, os.strerror(number))


def test_the_folder_of_no_job_is_refused(tmp_path: Path) -> None:
    """With the file that is missing."""
    with pytest.raises(DamagedError, match="not written by this version"):
        run_job(tmp_path, Stop())


def test_an_item_with_a_slash_has_one_folder(make_plan: Make) -> None:
    """Its address is part of a name."""
    folder = job_folder(make_plan(address="toy@a/b", fingerprint="0123456789abcdef0123"))
    assert folder.name == "toy@a%2Fb-0123456789abcdef"
