import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from requests.exceptions import ConnectionError as RequestsConnectionError
from urllib3.exceptions import ProtocolError

from capillary.executors.container.endings import Ending, EndingWatch, tell_of
from capillary.executors.container.host_paths import SamePaths
from capillary.executors.container.logs import Log
from capillary.executors.container.spec import ContainerHost
from capillary.lifetimes.stop import Stop
from capillary.planning.plan import StagePlan
from tests.unit.capillary.executors.container.fake_daemon import Daemon

MakePlan = Callable[..., StagePlan]
Tell = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def tell(make_plan: MakePlan, capsys: pytest.CaptureFixture[str]) -> Tell:
    """The exit code of an ending, and the lines that it brings."""

    def tell(
        ending: Ending,
        stop: Stop | None = None,
        printed: str = "",
        gb: float | str | None = 2.0,
        machine_gib: int = 64,
        side_by_side: int = 1,
    ) -> tuple[int, list[str]]:
        plan = make_plan()
        plan = dataclasses.replace(plan, access=plan.access.model_copy(update={"memory_gb": gb}))
        log = Log(plan.repository / ".capillary" / "logs", plan.address)
        log.take(2, printed.encode())
        capsys.readouterr()
        memory = machine_gib << 30
        place = ContainerHost(
            paths=SamePaths(), own_id=None, user="0:0", memory_bytes=memory, side_by_side=side_by_side
        )
        code = tell_of(ending, plan, place, stop or Stop(), log)
        log.close()
        return code, capsys.readouterr().err.splitlines()

    return tell


def asked(number: signal.Signals, *, killed: bool = False) -> Stop:
    stop = Stop()
    stop.receive(number, None)
    stop.killed = killed
    return stop


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (
            Ending(code=137, out_of_memory=True),
            "ran out of memory: its limit is 2 GB (memory_gb of toy in configs/stages.yaml)",
        ),
        (
            Ending(code=1, out_of_memory=True),
            "ran out of memory: its limit is 2 GB (memory_gb of toy in configs/stages.yaml)",
        ),
        (Ending(code=137, out_of_memory=False), "was killed from outside"),
        (Ending(code=143, out_of_memory=False), "was stopped from outside"),
        (Ending(code=130, out_of_memory=False), "was stopped from outside"),
        (Ending(code=139, out_of_memory=False), "was ended by SIGSEGV"),
        (Ending(code=129, out_of_memory=False), "was ended by SIGHUP"),
    ],
)
def test_how_a_container_ended_is_said(tell: Tell, ending: Ending, said: str) -> None:
    """Where the stage could not say it itself; the code is kept."""
    code, (line, log) = tell(ending)
    assert code == ending.code
    assert line.startswith(f"toy@a {said}")
    assert log.startswith("log: .capillary/logs/toy@a-")


@pytest.mark.parametrize("code", [3, 128, 255])
def test_a_stage_that_failed_by_itself_has_said_why(tell: Tell, code: int) -> None:
    """The launcher adds where the log is."""
    assert tell(Ending(code=code, out_of_memory=False))[0] == code
    (line,) = tell(Ending(code=code, out_of_memory=False))[1]
    assert line.startswith("log: ")


def test_a_stage_that_ended_well_needs_no_word(tell: Tell) -> None:
    """Not even where a worker ran out of memory on the way, or a request came late."""
    assert tell(Ending(code=0, out_of_memory=True)) == (0, [])
    assert tell(Ending(code=0, out_of_memory=False), asked(signal.SIGTERM)) == (0, [])


def test_without_a_limit_the_machine_has_no_more_memory(tell: Tell) -> None:
    """memory_gb: none."""
    _, (line, _log) = tell(Ending(code=137, out_of_memory=True), gb="none")
    assert line.startswith("toy@a ran out of memory: this machine has no more memory; remedy: ")


@pytest.mark.parametrize(
    ("side_by_side", "limit"),
    [(1, "its limit is 57.6 GB (the default, "), (4, "its limit is 14.4 GB (the share of one of 4")],
)
def test_the_default_limit_is_told_with_its_key(tell: Tell, side_by_side: int, limit: str) -> None:
    """memory_gb: null, on a machine with 64 GB."""
    _, (line, _log) = tell(Ending(code=137, out_of_memory=True), gb=None, side_by_side=side_by_side)
    assert limit in line
    assert "remedy: set memory_gb of toy in configs/stages.yaml" in line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "ending",
    [
        Ending(code=137, out_of_memory=False),
        Ending(code=137, out_of_memory=True),
        Ending(code=143, out_of_memory=False),
        Ending(code=1, out_of_memory=False),
    ],
    ids=["killed", "out of memory", "asked", "failed"],
)
def test_a_stage_that_was_asked_to_stop_ends_with_the_request_s_code(
    tell: Tell, number: signal.Signals, code: int, ending: Ending
) -> None:
    """Whichever code its container had; nothing needs an explanation."""
    found, lines = tell(ending, asked(number))
    assert found == code
    assert [line.split(":")[0] for line in lines] == ["log"]


def test_a_stage_that_was_killed_for_its_slowness_is_named(tell: Tell) -> None:
    """With the setting to change."""
    code, (line, _log) = tell(Ending(code=137, out_of_memory=True), asked(signal.SIGINT, killed=True))
    assert code == 130
    assert line == "toy@a did not end within 1 s (CAPILLARY_GRACE_S) after the request to stop, and was killed"


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/work/my project/data/other.txt", "data/other.txt"),
        ("data/other.txt", "data/other.txt"),
        ("../beside/x.txt", "../beside/x.txt"),
        ("data/nowhere.txt", None),
    ],
)
def test_a_file_that_exists_and_is_not_declared_is_named(tell: Tell, path: str, refused: str | None) -> None:
    """In the container it does not exist; the launcher knows better."""
    printed = f"FileNotFoundError: [Errno 2] No such file or directory: '{path}'\n"
    code, lines = tell(Ending(code=1, out_of_memory=False), printed=printed)
    assert code == (5 if refused else 1)  # as a plain process ends on it
    said = [line for line in lines if not line.startswith("log: ")]
    assert [line.split(":")[0] for line in said] == ([f"toy@a was refused {refused}"] if refused else [])


OOM: dict[str, Any] = {"Action": "oom"}
DIED: dict[str, Any] = {"Action": "die", "Actor": {"Attributes": {"exitCode": "137"}}}


@pytest.mark.parametrize(
    ("events", "ending"),
    [
        ([{"Action": "start"}, DIED], Ending(code=137, out_of_memory=False)),
        ([OOM, {"Action": "exec_die"}, DIED], Ending(code=137, out_of_memory=True)),
        ([DIED, OOM], Ending(code=137, out_of_memory=False)),
        ([{"Action": "start"}, OOM], None),
        ([], None),
    ],
    ids=["died", "out of memory", "nothing counts after the end", "stream ends early", "nothing"],
)
def test_an_ending_is_read_from_the_daemon_s_events(
    daemon: Daemon, events: list[dict[str, Any]], ending: Ending | None
) -> None:
    """Of the one container, decoded."""
    daemon.answers["events"] = lambda **_: iter(events)
    assert EndingWatch(daemon, "c0ffee").wait() == ending
    assert daemon.asked == [("events", (), {"filters": {"container": ["c0ffee"]}, "decode": True})]


def test_a_launcher_does_not_wait_for_a_daemon_that_says_nothing(daemon: Daemon) -> None:
    """Whoever listens to the events ends with the launcher."""
    before, silence = set(threading.enumerate()), threading.Event()
    daemon.answers["events"] = lambda **_: iter(silence.wait, True)
    EndingWatch(daemon, "c0ffee")
    assert [thread.daemon for thread in set(threading.enumerate()) - before] == [True]
    silence.set()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [RequestsConnectionError("gone"), ProtocolError("gone"), OSError("gone")])
def test_when_the_daemon_goes_away_there_is_no_ending(daemon: Daemon, error: Exception) -> None:
    """Whichever way the connection broke."""

    def events(**_: object) -> Iterator[dict[str, Any]]:
        yield OOM
        raise error

    daemon.answers["events"] = events
    assert EndingWatch(daemon, "c0ffee").wait() is None
