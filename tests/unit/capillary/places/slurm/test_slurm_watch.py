"""What Slurm says, and when that is the end of a job: never an answer that failed, never one alone."""

import subprocess
from pathlib import Path

import pytest

from capillary.places.slurm import queue
from capillary.places.slurm.node import own_job
from capillary.places.slurm.queue import JobInfo, NoAnswer, parse_job
from capillary.places.slurm.watch import GONE, LAST_POLL_S, Watch
from stages.common.errors import CapillaryError, ServiceError
from tests.unit.capillary.places.slurm.conftest import NAME, FakeSlurm, done, job

ALIVE = JobInfo(state="RUNNING", reason="None", node="n1", restarts=0, name=NAME)
LOST = JobInfo(state="NODE_FAIL", reason="None", node="n1", restarts=0, name=NAME)


def watch(age_s: float = 300) -> Watch:
    return Watch(min_job_age_s=age_s, seen_s=0)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([(1, ALIVE), (1000, NoAnswer.SILENT), (9999, NoAnswer.SILENT)], None),
        ([(1, ALIVE), (2, LOST)], None),
        ([(1, ALIVE), (2, LOST), (13, LOST)], "NODE_FAIL"),
        ([(1, LOST), (8, ALIVE), (20, LOST)], None),
        ([(1, ALIVE), (2, NoAnswer.GONE), (200, NoAnswer.GONE)], None),
        ([(1, ALIVE), (2, NoAnswer.GONE), (302, NoAnswer.GONE)], GONE),
        ([(400, NoAnswer.GONE)], None),
        ([(400, NoAnswer.GONE), (411, NoAnswer.SILENT), (412, NoAnswer.GONE)], GONE),
    ],
)
def test_the_end_of_a_job(answers: list[tuple[float, JobInfo | NoAnswer]], expected: str | None) -> None:
    """Two answers with a pause between them; a job that is unknown counts when a finished one would be forgotten."""
    seen = watch()
    assert [seen.take(answer, now_s) for now_s, answer in answers][-1] == expected


def test_questions_become_rare_until_something_changes() -> None:
    """From one second to fifteen."""
    seen = watch()
    delays = []
    for now_s in range(12):
        seen.take(ALIVE, now_s)
        delays.append(seen.delay_s)
    assert delays[0] == 1
    assert delays == sorted(delays)
    assert delays[-1] == LAST_POLL_S
    seen.take(LOST, 20)
    assert seen.delay_s == 1


def test_a_job_as_slurm_describes_it() -> None:
    """What comes later in the line, such as a path, cannot pass for its state."""
    found = parse_job(job("PENDING", reason="BeginTime", restarts=2))
    assert found == JobInfo(state="PENDING", reason="BeginTime", node="", restarts=2, name=NAME)
    fresh = parse_job(job("PENDING"))
    assert isinstance(fresh, JobInfo)
    assert fresh.reason == ""
    assert parse_job("slurm_load_jobs error: Unable to contact slurm controller") is NoAnswer.SILENT


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (done(stderr="slurm_load_jobs error: Invalid job id specified", code=1), NoAnswer.GONE),
        (done(stderr="slurm_load_jobs error: Socket timed out on send/recv operation", code=1), NoAnswer.SILENT),
        (done(stdout=""), NoAnswer.SILENT),
    ],
)
def test_an_answer_that_fails(slurm: FakeSlurm, answer: "subprocess.CompletedProcess[str]", expected: NoAnswer) -> None:
    """Only Slurm's own word says that it does not know the job."""
    slurm.jobs = [answer]
    assert queue.ask("1") is expected


def test_a_task_that_was_cancelled_while_it_waited(slurm: FakeSlurm) -> None:
    """Slurm forgets it at once, and still has its array: that is its end, while an unknown array may come back."""
    slurm.jobs = [done(stdout="Job 28_4 not found\n", code=1)]
    found = queue.ask("28_4")
    assert isinstance(found, JobInfo)
    assert (found.state, found.is_terminal) == ("CANCELLED", True)
    slurm.jobs = [done(stderr="slurm_load_jobs error: Invalid job id specified", code=1)]
    assert queue.ask("28_4") is NoAnswer.GONE


def test_jobs_and_tasks_are_found_by_name(slurm: FakeSlurm) -> None:
    """Those that work in the folder alone; tasks that wait are listed one by one."""
    slurm.named = ["28_0 /my jobs", "28_11 /my jobs", "29 /my jobs", "30 /other", "28_[2-5%2] /my jobs"]
    assert queue.find_by_name("capillary-x", Path("/my jobs")) == ["28_0", "28_11", "29"]
    assert "--array" in slurm.asked[-1]


def test_a_job_knows_itself_by_a_number_that_no_other_job_has() -> None:
    """The last task of an array has the array's own number, by which Slurm would requeue all of them."""
    variables = {"SLURM_JOB_ID": "28", "SLURM_ARRAY_JOB_ID": "28", "SLURM_ARRAY_TASK_ID": "4"}
    assert own_job(variables) == "28_4"
    assert own_job({"SLURM_JOB_ID": "28"}) == "28"


def test_a_silent_queue_submits_nothing(slurm: FakeSlurm, tmp_path: pytest.TempPathFactory) -> None:
    """An empty list and no list are not the same."""
    slurm.squeue_code = 1
    with pytest.raises(ServiceError, match="does not list the jobs"):
        queue.find_by_name("capillary-x", tmp_path)  # type: ignore[arg-type]


def test_a_job_that_slurm_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Slurm's own words."""
    refusal = done(stderr="sbatch: error: invalid partition specified: gpuu", code=1)
    monkeypatch.setattr(queue, "_run", lambda *_: refusal)
    with pytest.raises(CapillaryError, match="rejected the job") as caught:
        queue.submit(["sbatch"], {})
    assert "gpuu" in str(caught.value.value)


def test_a_machine_without_slurm_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head on the wrong machine."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CapillaryError, match="this machine has no Slurm"):
        queue.ask("1")
