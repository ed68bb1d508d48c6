"""`capillary jobs`: what a project has in the queue, and what is left of jobs that are over."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.places import jobs
from capillary.places.held import held
from capillary.places.job import Handover, job_folder, write_job
from capillary.places.outcome import Attempt, Ended, write_attempt, write_ended
from capillary.places.slurm import queue
from capillary.places.slurm.queue import JobInfo, NoAnswer
from capillary.places.slurm.submitted import _remember
from capillary.planning.plan import StagePlan
from capillary.settings import ExecutorName, PlaceName, read_settings
from stages.common.epoch_line import EpochLine, format_epoch
from stages.common.errors import CapillaryError

EPOCH = format_epoch(EpochLine(epoch=3, epochs=9, loss=0.5, validation_dsc=None, remaining_s=60, rss_gb=1.0))
RUNNING = JobInfo(state="RUNNING", reason="None", node="n2", restarts=1, name="capillary-x")
PENDING = JobInfo(state="PENDING", reason="Priority", node="", restarts=0, name="capillary-x")
Make = Callable[..., StagePlan]


class Cluster:
    """What Slurm knows, and what it was asked to do."""

    def __init__(self) -> None:
        self.knows: JobInfo | NoAnswer = RUNNING
        self.did: list[tuple[str, str]] = []


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(queue, "ask", lambda _number: made.knows)
    monkeypatch.setattr(queue, "cancel", lambda number: made.did.append(("cancel", number)))
    monkeypatch.setattr(queue, "ask_to_checkpoint", lambda number: made.did.append(("checkpoint", number)))
    return made


@pytest.fixture
def folder(make_plan: Make, root: Path, cluster: Cluster) -> Path:
    """A job that a head submitted."""
    plan = make_plan("data/in.txt", fingerprint="0123456789abcdef")
    settings = read_settings(root, {})
    made = job_folder(plan)
    write_job(
        plan,
        made,
        Handover(place=PlaceName.SLURM, executor=ExecutorName.PROCESS, environment_id=["3.11"], settings=settings),
    )
    _remember(made, 4711)
    return made


def test_a_job_that_runs(folder: Path, root: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """Its node, the last epoch in its log, how often it was taken up again; for people and for machines."""
    for node in ("n1", "n2"):
        write_attempt(folder, Attempt(node=node, started=5e9))
    (folder / "log").write_text(f"begin\n{EPOCH}\nsaved\n")
    jobs.show_jobs(root, as_json=False)
    assert "toy@a" in capsys.readouterr().out
    jobs.show_jobs(root, as_json=True)
    (facts,) = json.loads(capsys.readouterr().out)
    expected = {"cell": "toy@a", "job": "4711", "state": "running", "node": "n2", "epoch": 3, "epochs": 9, "retries": 1}
    assert {name: facts[name] for name in expected} == expected
    assert facts["waited_s"] > 0


@pytest.mark.parametrize(
    ("knows", "ended", "state"),
    [
        (PENDING, None, "queued (Priority)"),
        (dataclasses.replace(PENDING, reason=""), None, "queued"),
        (NoAnswer.SILENT, None, "Slurm does not answer"),
        (NoAnswer.GONE, None, "not known to Slurm"),
        (RUNNING, 0, "done, not collected yet"),
        (RUNNING, 3, "failed (3), not collected yet"),
    ],
)
def test_the_state_of_a_job(
    folder: Path, cluster: Cluster, knows: JobInfo | NoAnswer, ended: int | None, state: str
) -> None:
    """Its own word counts before Slurm's."""
    cluster.knows = knows
    if ended is not None:
        write_ended(folder, Ended(code=ended, node="n1", started=1.0, ended=2.0))
    assert jobs.facts_of(folder).state == state


@pytest.mark.usefixtures("folder")
def test_json_is_alone_on_standard_output(
    root: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said on the way, such as that a remote does not answer, is on standard error."""

    def ask(_number: str) -> JobInfo | NoAnswer:
        jobs.log.warning("the remote does not answer")
        return cluster.knows

    monkeypatch.setattr(queue, "ask", ask)
    jobs.show_jobs(root, as_json=True)
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == 1
    assert "the remote does not answer" in shown.err


def test_a_project_without_jobs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, or an empty list."""
    (root / "dvc.yaml").touch()
    jobs.show_jobs(root, as_json=False)
    assert "no job of this project" in capsys.readouterr().out
    jobs.show_jobs(root, as_json=True)
    assert json.loads(capsys.readouterr().out) == []
    jobs.clean_jobs(root)


@pytest.mark.usefixtures("folder")
def test_the_last_lines_of_a_job_without_a_shared_disk_are_shown(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may end, and leave them in its mailbox, between the look into that and the question to Slurm."""
    left = ["begin\n"]

    def look(_folder: Path, own: Path) -> Path:
        (own / "log").write_text("".join(left))
        return own

    def ask(_number: str) -> NoAnswer:
        left.append("the reason\n")
        return NoAnswer.GONE

    monkeypatch.setattr(jobs, "_look", look)
    monkeypatch.setattr(queue, "ask", ask)
    monkeypatch.setattr(jobs, "LOOK_S", 0.0)
    jobs.show_log(root, "4711", follow=True)
    assert capsys.readouterr().out == "begin\nthe reason\n"


@pytest.mark.parametrize(("knows", "did"), [(RUNNING, "checkpoint"), (PENDING, "cancel")])
@pytest.mark.parametrize("name", ["toy@a", "4711", None])
def test_cancelling(folder: Path, root: Path, cluster: Cluster, knows: JobInfo, did: str, name: str | None) -> None:
    """By cell, by number, or all; the mark keeps the job from going back into the queue."""
    cluster.knows = knows
    jobs.cancel_jobs(root, [name] if name else [], every=name is None)
    assert cluster.did == [(did, "4711")]
    assert (folder / "stop").exists()


@pytest.fixture
def tasks(make_plan: Make, root: Path, cluster: Cluster) -> list[Path]:
    """The three tasks of an array."""
    settings = read_settings(root, {})
    handover = Handover(place=PlaceName.SLURM, executor=ExecutorName.PROCESS, environment_id=[], settings=settings)
    made = []
    for task, cell in enumerate(["toy@a", "toy@b", "toy@c"]):
        plan = make_plan("data/in.txt", address=cell, fingerprint=f"{task}123456789abcdef")
        made.append(job_folder(plan))
        write_job(plan, made[-1], handover)
        _remember(made[-1], 4711, task)
    return made


@pytest.mark.parametrize(
    ("name", "ended"), [("toy@b", ["4711_1"]), ("4711_2", ["4711_2"]), ("4711", ["4711_0", "4711_1", "4711_2"])]
)
def test_cancelling_tasks_of_an_array(
    tasks: list[Path], root: Path, cluster: Cluster, name: str, ended: list[str]
) -> None:
    """One by its cell or its number, or all of them by that of the array."""
    jobs.cancel_jobs(root, [name], every=False)
    assert cluster.did == [("checkpoint", job) for job in ended]
    assert sum((folder / "stop").exists() for folder in tasks) == len(ended)


def test_the_log_of_an_array_is_that_of_none_of_its_tasks(tasks: list[Path], root: Path) -> None:
    """They are named; each is shown under its own number."""
    with pytest.raises(CapillaryError, match="4711 is an array of jobs") as caught:
        jobs.show_log(root, "4711", follow=False)
    assert caught.value.remedy.endswith("4711_0, 4711_1, 4711_2")
    assert [jobs.facts_of(folder).job for folder in tasks] == ["4711_0", "4711_1", "4711_2"]


def test_tasks_without_a_head_leave_the_queue(tasks: list[Path], root: Path, cluster: Cluster) -> None:
    """After Ctrl-C; a head that still waits asks its own job, and other cells are none of this experiment's."""
    cluster.knows = PENDING
    with held(tasks[0], "toy@a"):
        jobs.withdraw(root, {"toy@a", "toy@b"})
    assert cluster.did == [("cancel", "4711_1")]


def test_cancelling_a_task_of_ray(
    make_plan: Make, root: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no number; what runs it looks for the mark."""
    plan, settings = make_plan("data/in.txt", fingerprint="0123456789abcdef"), read_settings(root, {})
    made = job_folder(plan)
    handover = Handover(place=PlaceName.RAY, executor=ExecutorName.PROCESS, environment_id=["3.11"], settings=settings)
    write_job(plan, made, handover)
    write_attempt(made, Attempt(node="n1", started=1.0))
    jobs.cancel_jobs(root, ["toy@a"], every=False)
    assert (made / "stop").exists()
    assert "is asked to checkpoint and end" in capsys.readouterr().out
    assert cluster.did == []


def test_an_unknown_job_is_named_with_those_that_there_are(folder: Path, root: Path) -> None:
    """A typing error ends nothing."""
    with pytest.raises(CapillaryError, match="this project has no job toy@b") as caught:
        jobs.cancel_jobs(root, ["toy@b"], every=False)
    assert "toy@a" in caught.value.remedy


@pytest.mark.parametrize("follow", [False, True])
def test_the_log_of_a_job(folder: Path, root: Path, follow: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """What there is, or all until its end."""
    (folder / "log").write_text("begin\nend\n")
    write_ended(folder, Ended(code=0, node="n1", started=1.0, ended=2.0))
    jobs.show_log(root, "toy@a", follow=follow)
    assert capsys.readouterr().out == "begin\nend\n"


@pytest.mark.parametrize(
    ("knows", "ended", "stays"),
    [(RUNNING, None, True), (NoAnswer.SILENT, None, True), (NoAnswer.GONE, None, False), (RUNNING, 0, True),
     (RUNNING, 3, False)],
)  # fmt: skip
def test_cleaning(
    folder: Path, root: Path, cluster: Cluster, knows: JobInfo | NoAnswer, ended: int | None, stays: bool
) -> None:
    """Only what is over goes; what ended well waits to be collected, and what a head follows is its own."""
    cluster.knows = knows
    if ended is not None:
        write_ended(folder, Ended(code=ended, node="n1", started=1.0, ended=2.0))
    assert jobs.live_states(root) == {"toy"}
    with held(folder, "toy@a"):
        jobs.clean_jobs(root)
        assert folder.exists()
    jobs.clean_jobs(root)
    assert folder.exists() == stays


def test_a_log_is_not_followed_for_ever(
    folder: Path, root: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that Slurm killed leaves no word of its end."""
    (folder / "log").write_text("so far\n")
    cluster.knows = dataclasses.replace(RUNNING, state="OUT_OF_MEMORY")
    monkeypatch.setattr(jobs, "LOOK_S", 0.0)
    jobs.show_log(root, "4711", follow=True)
    assert capsys.readouterr().out == "so far\n"
