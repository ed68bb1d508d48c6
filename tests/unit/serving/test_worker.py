"""What the process with the networks answers when it cannot use the place where models are kept."""

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from serving import worker
from serving.models import networks
from serving.models.messages import Answer, Resolve, line_of
from serving.settings import THREADS
from stages.common.errors import DataError

LOCK = "mlruns/.first-use.lock"


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """What a worker says whose user may not write mlruns/."""
    said: list[Answer] = []

    def refuse(_runtime: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", LOCK)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(networks, "connect", refuse)
    monkeypatch.setattr(worker, "_own_output", lambda: said.append)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    return said


def test_a_store_that_may_not_be_written_is_named_at_the_start(answers: list[Answer]) -> None:
    """The service's log shows it, with what to do, instead of a traceback."""
    worker.main()
    (answer,) = answers
    assert answer.failure is not None
    assert answer.failure["what"] == f"cannot write or read: permission is denied: {LOCK}"
    assert "write access" in answer.failure["remedy"]


def test_looking_up_the_alias_does_not_end_the_process(answers: list[Answer]) -> None:
    """It may be in the middle of a stack."""
    worker._resolve(Resolve(reference="vessels@champion", number=7), answers.append)
    assert [answer.number for answer in answers] == [7]
    assert [answer.unresolved for answer in answers] == [f"cannot write or read: permission is denied: {LOCK}"]


@pytest.mark.parametrize(("told", "threads"), [("", 3), ("5", 5)])
def test_a_limit_on_the_container_s_cpus_is_kept(told: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread per core of the machine would make them wait for each other. What the service is told counts more."""
    monkeypatch.setattr(worker, "allowed_cores", lambda: (3, "the CPU quota of its cgroup"))
    monkeypatch.setenv(THREADS, told)
    assert worker.thread_count() == threads


def test_progress_grows_from_step_to_step() -> None:
    """A stack that was read is not a stack that is done: `capillary predict` shows two bars, a job has one number."""
    shares: list[float] = []
    report = worker._report(shares.append)
    for title in ("read", "predict"):
        with report.steps(title, 250) as tick:
            for _ in range(250):
                tick()
    assert shares == sorted(set(shares))
    assert shares[-1] == 1
    assert len([share for share in shares if share <= 0.1]) == 100


ASKED = {"job": "0" * 32, "folder": "/", "request": {"file_name": "a.tif", "suffix": ".tif"}}


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/srv/jobs/.mask.tif.sums"), "the disk is full"),
        (MemoryError(), "not enough memory"),
        (TypeError("/srv/jobs"), "cannot work on this stack"),
        (DataError("it holds a\udcff.tif", remedy="-"), r"it holds a\udcff.tif"),
    ],
)
def test_what_stops_a_stack_ends_no_process(error: Exception, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks would be loaded again, three times for one stack, and the client told to send a smaller one."""
    said: list[bytes] = []

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(worker, "segment", fail)
    worker._segment(ASKED, None, lambda answer: said.append(line_of(answer)))  # type: ignore[arg-type]
    failure = Answer.model_validate_json(said[0]).failure
    assert failure is not None
    assert what in failure["what"]
    assert "/srv" not in str(failure)


def test_a_gpu_s_error_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next stack would meet it, too; another process gets a new context."""

    def fail(*_: Any) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(worker, "segment", fail)
    with pytest.raises(RuntimeError, match="device-side"):
        worker._segment(ASKED, None, lambda _: None)  # type: ignore[arg-type]
