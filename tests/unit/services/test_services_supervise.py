import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.parts import REPOSITORY

USAGE = 2


@pytest.fixture
def supervise(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """The supervisor, in a container in which nothing else runs; no timer is set before or after."""
    module = load("runner/supervise.py")
    monkeypatch.setattr(module, "WORKSPACE", tmp_path)
    monkeypatch.setattr(module, "SOCKET", tmp_path / "docker.sock")
    monkeypatch.setattr(module, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(module, "left_processes", dict)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    signal.setitimer(signal.ITIMER_REAL, 0)
    yield module
    signal.setitimer(signal.ITIMER_REAL, 0)


def refusal(capsys: pytest.CaptureFixture[str], check: Callable[[], object]) -> str:
    with pytest.raises(SystemExit) as caught:
        check()
    assert caught.value.code == USAGE
    return capsys.readouterr().err


def test_an_image_of_another_version_is_named(
    supervise: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a folder that is not a checkout."""
    assert "is not a checkout of capillary" in refusal(capsys, supervise.refuse_other_version)
    monkeypatch.setattr(supervise, "stamp", lambda folder: f"stamp of {folder}")
    supervise.STAMP.write_text("another\n")
    assert "docker compose build dvc-runner" in refusal(capsys, supervise.refuse_other_version)
    supervise.STAMP.write_text(f"stamp of {supervise.WORKSPACE}\n")
    supervise.refuse_other_version()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nOK", ""),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "is not a Docker daemon"),
        (b"", "is not a Docker daemon"),
    ],
)
def test_what_answers_on_the_socket_must_be_a_daemon(
    supervise: ModuleType, capsys: pytest.CaptureFixture[str], answer: bytes, said: str
) -> None:
    """It is asked for a ping."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(supervise.SOCKET))
        server.listen()

        def serve() -> None:
            with server.accept()[0] as connection:
                asked.append(connection.recv(100))
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        if said:
            assert said in refusal(capsys, supervise.require_daemon)
        else:
            supervise.require_daemon()
        thread.join(30)
    assert asked == [b"GET /_ping HTTP/1.0\r\n\r\n"]


def test_a_daemon_that_does_not_answer_is_named(
    supervise: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A daemon elsewhere is capillary's own affair."""
    said = refusal(capsys, supervise.require_daemon)
    assert f"no Docker daemon answers on {supervise.SOCKET} (No such file or directory)" in said

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(supervise.socket.socket, "connect", refuse)
    assert f"uid {os.getuid()} may not use {supervise.SOCKET}" in refusal(capsys, supervise.require_daemon)
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    supervise.require_daemon()


def test_only_what_the_command_left_counts(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not init, this process, what has ended, or what `docker exec` brought in (its parent is outside: 0)."""
    module = load("runner/supervise.py")
    me = os.getpid()
    rows = {
        1: "(init) S 0",
        me: "(python) R 1",
        20: "(worker (1) x) S 1",
        21: "(child) R 20",
        22: "(zombie) Z 20",
        23: "(dead) X 1",
        30: "(exec) S 0",
        31: "(shell) S 30",
    }
    for pid, row in rows.items():
        (tmp_path / "proc" / str(pid)).mkdir(parents=True)
        (tmp_path / "proc" / str(pid) / "stat").write_text(f"{pid} {row} 0 0 0\n")
    (tmp_path / "proc" / "99").mkdir()
    monkeypatch.setattr(module, "Path", lambda name: tmp_path / name.lstrip("/"))
    assert module.left_processes() == {20: "worker (1) x", 21: "child"}


class Sent:
    """What would be signalled, and what is left over."""

    def __init__(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch, *left: dict[int, str]) -> None:
        self.groups: list[tuple[int, int]] = []
        self.processes: list[tuple[int, int]] = []
        looks = iter(left)
        monkeypatch.setattr(module, "signal_group", lambda group, number: self.groups.append((group, number)))
        monkeypatch.setattr(module, "_signal", lambda pid, number: self.processes.append((pid, number)))
        monkeypatch.setattr(module, "left_processes", lambda: next(looks))


def time_left_s() -> float:
    return signal.getitimer(signal.ITIMER_REAL)[0]


@pytest.mark.parametrize(("number", "limited"), [(signal.SIGINT, False), (signal.SIGTERM, True), (signal.SIGHUP, True)])
def test_a_request_goes_to_the_command_s_group(
    supervise: ModuleType, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, limited: bool
) -> None:
    """Ctrl-C is the command's own affair; any other sets a limit, a little more than the grace period."""
    sent = Sent(supervise, monkeypatch)
    supervisor = supervise.Supervisor(40.0)
    supervisor.command = 4711
    supervisor.receive(number, None)
    assert (supervisor.asked, sent.groups, sent.processes) == (True, [(4711, number)], [])
    assert (40 < time_left_s() <= 40 + supervise.MARGIN_S) if limited else time_left_s() == 0


def test_a_second_request_does_not_prolong_the_limit(supervise: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """docker stop gives only so much time."""
    Sent(supervise, monkeypatch)
    supervisor = supervise.Supervisor(40.0)
    supervisor.command = 4711
    supervisor.receive(signal.SIGTERM, None)
    signal.setitimer(signal.ITIMER_REAL, 20)  # half of it has passed
    supervisor.receive(signal.SIGTERM, None)
    assert 0 < time_left_s() <= 20


def test_when_the_command_has_ended_a_request_goes_to_what_it_left(
    supervise: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends a worker in the background."""
    sent = Sent(supervise, monkeypatch, {20: "worker", 21: "child"})
    supervisor = supervise.Supervisor(40.0)
    supervisor.receive(signal.SIGINT, None)
    assert (sent.groups, sent.processes) == ([], [(20, signal.SIGTERM), (21, signal.SIGTERM)])
    assert 0 < time_left_s() <= 45


def test_at_the_limit_all_that_is_left_is_killed_and_named(
    supervise: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The container ends in bounded time."""
    sent = Sent(supervise, monkeypatch, {20: "worker", 21: "child"})
    supervise.Supervisor(1.0).expire(signal.SIGALRM, None)
    assert sent.processes == [(20, signal.SIGKILL), (21, signal.SIGKILL)]
    said = ["worker did not end within 6 s and was killed", "child did not end within 6 s and was killed"]
    assert capsys.readouterr().err.splitlines() == said


@pytest.mark.parametrize(("asked", "times"), [(False, 1), (True, 0)])
def test_what_is_left_in_the_background_is_waited_for(
    supervise: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: bool, times: int
) -> None:
    """It is named once, unless it ends soon or was asked to end."""
    left = {21: "worker", 20: "worker", 22: "child"}
    Sent(supervise, monkeypatch, left, left, left, {})
    clock = iter([0.0, 1.0, 2.5, 3.0])
    monkeypatch.setattr(supervise.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(supervise.time, "sleep", lambda _s: None)
    supervisor = supervise.Supervisor(1.0)
    supervisor.asked = asked
    supervisor._wait_for_rest()
    err = capsys.readouterr().err
    assert err == "waiting for processes left in the background (child, worker); Ctrl-C ends it\n" * times


# the supervisor as a program, in a container in which nothing else runs
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import supervise
supervise.left_processes = dict
sys.exit(supervise.Supervisor(30.0).run(sys.argv[2:]))
"""


def start(*argv: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(REPOSITORY / "services/runner"), *argv]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]  # three streams


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["sh", "-c", "exit 7"], 7, ""),
        (["true"], 0, ""),
        (["sh", "-c", "kill -9 $$"], 137, ""),
        (["sh", "-c", "kill -STOP $$; exit 5"], 5, ""),
        (["no-such-command"], 127, "no-such-command cannot be started in the dvc-runner: No such file or directory"),
        (["/"], 126, "/ cannot be started in the dvc-runner: Permission denied"),
    ],
)
def test_exit_codes_are_the_command_s(argv: list[str], code: int, said: str) -> None:
    """Also when a signal ended or stopped it, or when it cannot be started."""
    with start(*argv) as process:
        _, err = process.communicate()
    assert process.returncode == code
    assert err == (f"error: {said}\n" if said else "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_request_reaches_the_whole_command(number: signal.Signals) -> None:
    """The shell and what it started, which are one process group; its exit code is kept."""
    name = number.name.removeprefix("SIG")
    inner = f"trap 'echo inner; exit 4' {name}; echo ready; while :; do sleep 0.01; done"
    script = f"trap 'echo outer' {name}; sh -c \"{inner}\""
    with start("sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, _ = process.communicate()
    assert sorted(out.split()) == ["inner", "outer"]
    assert process.returncode == 4


def test_the_grace_period_is_the_user_s(supervise: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds unless CAPILLARY_GRACE_S is a number; without a command `dvc status` runs."""
    ran: list[tuple[float, list[str]]] = []

    def run(supervisor: object, argv: list[str]) -> int:
        ran.append((supervisor.grace_s, argv))  # type: ignore[attr-defined]  # a Supervisor
        return 3

    monkeypatch.setattr(supervise.Supervisor, "run", run)
    for name in ("refuse_other_version", "require_daemon"):
        monkeypatch.setattr(supervise, name, lambda: None)
    monkeypatch.setattr(supervise, "keep_profiles", lambda _home: None)
    for grace, argv in (("", []), ("20", ["dvc", "repro"]), ("soon", ["x"])):
        monkeypatch.setenv("CAPILLARY_GRACE_S", grace)
        with pytest.raises(SystemExit) as caught:
            supervise.main(argv)
        assert caught.value.code == 3
    assert ran == [(10.0, ["dvc", "status"]), (20.0, ["dvc", "repro"]), (10.0, ["x"])]


def test_a_program_s_name_that_the_kernel_cut_is_no_obstacle(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """After 15 bytes, which may be in the middle of a letter."""
    program = tmp_path / "Dateivorbereitüng"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        stat = Path(f"/proc/{process.pid}/stat")
        while b"Dateivor" not in stat.read_bytes():
            continue
        try:
            load("runner/supervise.py").left_processes()
        finally:
            process.kill()
