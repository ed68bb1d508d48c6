import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.containers.daemon import explain
from capillary.containers.endings import Ending, tell_of
from capillary.containers.logs import KEPT_RUNS, Log
from capillary.launcher.plan import StagePlan
from capillary.launcher.stop import Stop

MakePlan = Callable[..., StagePlan]


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ('could not select device driver "nvidia" with capabilities: [[gpu]]', "Container Toolkit"),
        ("write /var/lib/docker/x: no space left on device", "docker system df"),
        ("invalid mount config for type bind: bind source path does not exist: /x", "another machine"),
        ("something new", "docs/docker-socket.md"),
    ],
)
def test_the_daemons_refusals_come_with_a_remedy(message: str, remedy: str) -> None:
    """In plain words, beside what the daemon said."""
    error = explain(message, "run train@dice_ce-0")
    assert "run train@dice_ce-0" in error.what
    assert error.value == message
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (Ending(code=137, out_of_memory=True), "its limit is 2 GB (memory_gb)"),
        (Ending(code=137, out_of_memory=False), "was killed from outside"),
        (Ending(code=143, out_of_memory=False), "was stopped from outside"),
        (Ending(code=139, out_of_memory=False), "SIGSEGV"),
        (Ending(code=3, out_of_memory=False), ""),
    ],
)
def test_how_a_container_ended_is_said(
    make_plan: MakePlan, capsys: pytest.CaptureFixture[str], ending: Ending, said: str
) -> None:
    """Where the stage could not say it itself; the code is kept."""
    plan = make_plan()
    plan = dataclasses.replace(plan, access=plan.access.model_copy(update={"memory_gb": 2.0}))
    log = Log(plan.repository / ".capillary" / "logs", plan.address)
    assert tell_of(ending, plan, Stop(), log) == ending.code
    err = capsys.readouterr().err
    assert said in err
    assert "log: .capillary/logs/toy@a-" in err


def test_a_file_that_exists_and_is_not_declared_is_named(
    make_plan: MakePlan, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the container it does not exist; the launcher knows better."""
    plan = make_plan()
    log = Log(plan.repository / ".capillary" / "logs", plan.address)
    log.take(2, b"FileNotFoundError: [Errno 2] No such file or directory: '/work/my project/data/other.txt'\n")
    tell_of(Ending(code=1, out_of_memory=False), plan, Stop(), log)
    assert "was refused data/other.txt" in capsys.readouterr().err
    log.take(2, b"FileNotFoundError: [Errno 2] No such file or directory: 'data/nowhere.txt'\n")
    tell_of(Ending(code=1, out_of_memory=False), plan, Stop(), log)
    assert "refused" not in capsys.readouterr().err


def test_logs_are_kept_a_file_a_run_and_not_for_ever(tmp_path: Path) -> None:
    """The last runs of each stage; another stage's stay."""
    (tmp_path / "other-20260101T000000-1.log").touch()
    for second in range(KEPT_RUNS + 3):
        (tmp_path / f"train@a-202601010000{second:02d}-1.log").touch()
    log = Log(tmp_path, "train@a")
    log.take(1, b"line\n")
    log.close()
    assert log.file.read_bytes() == b"line\n"
    assert len(list(tmp_path.glob("train@a-*"))) == KEPT_RUNS
    assert (tmp_path / "other-20260101T000000-1.log").exists()
