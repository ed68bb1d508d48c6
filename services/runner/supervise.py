"""Runs a command in the container dvc-runner, and keeps the container until the last process in it has ended.

A container ends with its first process, and everything else in it is killed with no warning. But DVC dies at once of a
SIGTERM, and the launcher below it still has a stage to stop; and `dvc queue start` leaves a worker behind and returns.

A request to stop goes to the command's process group. After a SIGTERM (docker stop) all that is left is killed when the
stage's grace period and a little more is over. Standard library alone, and stages/common/lifetimes, which the image
carries.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from entrypoint import SOCKET, WORKSPACE, refuse
from profiles import keep_profiles
from requirements import stamp

from stages.common.lifetimes.shutdown import GRACE_S, REQUESTS, Action, Event, Policy, Supervision
from stages.common.lifetimes.signals import STOPS, install, signal_group

STAMP = Path("/opt/venv/stamp")
PLACES = Path(__file__).with_name("dvc_places.py")
REPAIRS = (["config"], ["cache"], ["remote"])  # dvc's commands that change its configuration
MARGIN_S = 5.0  # what the launcher needs beyond the grace period of a stage
POLL_S = 0.2
QUIET_S = 2.0  # this long a leftover process is nothing to talk of
PING_TIMEOUT_S = 20.0
# Ctrl-C is a running command's own affair
POLICY = Policy(unlimited=frozenset({Event.CTRL_C}), repeated=REQUESTS)


def refuse_other_version() -> None:
    """Refuse a checkout whose requirements are not those that the image was built with."""
    try:
        wanted = stamp(WORKSPACE)
    except FileNotFoundError as error:
        refuse(
            f"{WORKSPACE} is not a checkout of capillary: it has no {error.filename}", "start in the checkout's root"
        )
    if STAMP.read_text().strip() != wanted:
        refuse("this image was built for another version of the checkout", "docker compose build dvc-runner")


def require_daemon() -> None:
    """Refuse to start when no daemon answers on the mounted socket, or not to this user."""
    if os.environ.get("DOCKER_HOST", f"unix://{SOCKET}") != f"unix://{SOCKET}":
        return
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PING_TIMEOUT_S)
            connection.connect(str(SOCKET))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            answer = connection.recv(64)
    except PermissionError:
        refuse(f"uid {os.getuid()} may not use {SOCKET}", "give the socket's group the right to write: chmod g+rw")
    except OSError as error:
        refuse(f"no Docker daemon answers on {SOCKET} ({error.strerror or error})", "start Docker, then repeat")
    if b" 200 " not in answer:
        refuse(f"the program that answers on {SOCKET} is not a Docker daemon", f"mount the daemon's socket at {SOCKET}")


def refuse_lost_results(argv: list[str]) -> None:
    """Refuse to start where DVC's configuration has results written to what ends with this container."""
    if argv[:1] == ["dvc"] and argv[1:2] in REPAIRS:
        return
    code = subprocess.run([sys.executable, "-E", "-s", str(PLACES)], check=False).returncode
    if code:
        sys.exit(code)


def left_processes() -> dict[int, str]:
    """Running processes of this container (pid → program) but for this one, init, and what `docker exec` brought in."""
    parents, names = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # the kernel cuts a program's name after 15 bytes, in the middle of a letter too
            head, _, tail = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        pid, name = head.split(" (", 1)
        state, parent = tail.split()[:2]
        parents[int(pid)] = int(parent)
        if state not in "ZX":
            names[int(pid)] = name
    return {pid: name for pid, name in names.items() if pid not in {1, os.getpid()} and _first(pid, parents) == 1}


def _first(pid: int, parents: dict[int, int]) -> int:
    """The oldest ancestor of `pid` in this container: 1, or a process that came in from outside."""
    while parents.get(pid, 0):
        pid = parents[pid]
    return pid


class Supervisor:
    """One command, and whatever it leaves behind."""

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self.command = 0  # its process group; 0 when it has ended
        self.asked = False
        asked = {Action.FORWARD: self._forward, Action.START_GRACE: self._set_limit}
        self._supervision = Supervision(POLICY, {**asked, Action.KILL: self._kill})

    def run(self, argv: list[str]) -> int:
        """Run `argv` to its end and the end of what it left; returns its exit code as a shell would."""
        install({**dict.fromkeys(STOPS, self.receive), signal.SIGALRM: self.expire})
        install({signal.SIGTTOU: signal.SIG_IGN})  # this process hands the terminal on and takes it back
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until there is a group that they can go to
        self.command = start(argv)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        code = self._wait_for_command()
        take_terminal(os.getpgrp())
        self._supervision.restart()  # with what the command left
        if self.asked:
            self._supervision.take(Event.TERMINATE)
        self._wait_for_rest()
        return code

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Handle a request to stop."""
        self.asked = True
        event = Event.CTRL_C if self.command and number == signal.SIGINT else Event.TERMINATE
        self._supervision.take(event, signal.Signals(number))

    def expire(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGALRM: the limit is reached."""
        self._supervision.take(Event.GRACE_OVER)

    def _forward(self, number: int) -> None:
        if self.command:
            signal_group(self.command, number)
            return
        for pid in left_processes():
            _signal(pid, signal.SIGTERM)

    def _set_limit(self, _number: int) -> None:
        if not signal.getitimer(signal.ITIMER_REAL)[0]:  # that of the command also holds for what it left
            signal.setitimer(signal.ITIMER_REAL, self.grace_s + MARGIN_S)

    def _kill(self, _number: int) -> None:
        for pid, name in left_processes().items():
            sys.stderr.write(f"{name} did not end within {self.grace_s + MARGIN_S:g} s and was killed\n")
            _signal(pid, signal.SIGKILL)
        self._supervision.restart()  # with what was started meanwhile

    def _wait_for_command(self) -> int:
        while True:
            pid, status = os.waitpid(-1, os.WUNTRACED)
            if pid != self.command:
                continue  # without an init, orphans are this process's children
            if os.WIFSTOPPED(status):
                signal_group(pid, signal.SIGCONT)  # Ctrl-Z: there is no shell that could take it up again
                continue
            self.command = 0
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code

    def _wait_for_rest(self) -> None:
        started, told = time.monotonic(), False
        while left := left_processes():
            if not told and not self.asked and time.monotonic() - started > QUIET_S:
                names = ", ".join(sorted(set(left.values())))
                sys.stderr.write(f"waiting for processes left in the background ({names}); Ctrl-C ends it\n")
                told = True
            time.sleep(POLL_S)
            _reap()


def start(argv: list[str]) -> int:
    """Start `argv` in its own process group, in the terminal's foreground if there is one, with the usual
    handlers of all signals; its pid."""
    pid = os.fork()
    if pid:
        _make_group(pid)
        return pid
    os.setpgid(0, 0)
    take_terminal(os.getpid())
    install(dict.fromkeys((*STOPS, signal.SIGALRM, signal.SIGTTOU), signal.SIG_DFL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the command is the user's own, as a list
    except OSError as error:
        sys.stderr.write(f"error: {argv[0]} cannot be started in the dvc-runner: {error.strerror}\n")
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def take_terminal(group: int) -> None:
    """Make `group` the one that Ctrl-C reaches."""
    if os.isatty(0):
        os.tcsetpgrp(0, group)


def _make_group(pid: int) -> None:
    try:
        os.setpgid(pid, pid)
    except (PermissionError, ProcessLookupError):
        return  # it has done so itself, and runs or ran the command already


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has just ended


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return  # no children


def grace_of(variables: Mapping[str, str]) -> float:
    """Seconds; what is not a number is refused by capillary itself, which knows how to tell."""
    grace = variables.get("CAPILLARY_GRACE_S", "")
    return float(grace) if grace.isdecimal() else GRACE_S


def main(argv: list[str]) -> NoReturn:
    """Check the surroundings, run the command."""
    refuse_other_version()
    require_daemon()
    keep_profiles(Path.home())
    refuse_lost_results(argv)
    sys.exit(Supervisor(grace_of(os.environ)).run(argv or ["dvc", "status"]))


if __name__ == "__main__":
    main(sys.argv[1:])
