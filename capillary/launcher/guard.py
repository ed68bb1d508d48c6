"""The first thing that runs in a stage's process: holds the stage to its plan, then runs the stage.

    python -P guard.py POLICY.json stages.train --loss dice_ce --fold 0

An audit hook sees every file that Python opens, lists, makes, renames or removes and every connection. It refuses
  - project files that the stage's entry in dvc.yaml does not declare,
  - writing anything but the outs, the stage's temporary folder and the folders that the policy names,
  - connections, where the policy's network is `none`.
It is a guard against mistakes, not a wall: C code that opens a file by itself passes it, though even that finds in the
sandbox nothing but what is declared. The container executor is the wall.

Standard library alone, imports nothing of this project: it runs before the sandbox's own code is importable.
"""

import ctypes
import json
import os
import runpy
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

UNDECLARED_EXIT_CODE = 5
PR_SET_PDEATHSIG = 1
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
READ_EVENTS = {"os.listdir", "os.scandir"}
# where each event's arguments hold the number of the folder that a relative path starts from; None: nowhere
WRITE_EVENTS = {
    "os.mkdir": 2,
    "os.rmdir": 1,
    "os.remove": 1,
    "os.truncate": None,
    "os.chmod": 2,
    "os.chown": 3,
    "os.utime": 3,
}
WRITE_PAIR_EVENTS = {"os.rename", "os.link"}
CONNECT_EVENTS = {"socket.connect", "socket.sendto"}


class UndeclaredAccess(PermissionError):
    """A stage reached for something that its plan does not give it."""

    def __reduce__(self) -> tuple[type[PermissionError], tuple[Any, ...]]:
        """Cross from a worker process as a plain PermissionError: this module is not importable where it arrives."""
        return PermissionError, self.args


@dataclass(frozen=True)
class Policy:
    """What one stage may touch; absolute paths, without symbolic links resolved unless they are real places."""

    address: str
    launcher_pid: int
    network: str
    work: str
    forbidden: tuple[str, ...]  # project folders: nothing below them is readable unless declared
    readable: tuple[str, ...]  # declared deps and the interpreter's own folders
    writable: tuple[str, ...]  # temporary, state and embedded tracking folders
    outs: tuple[str, ...]
    record: str  # the file that keeps what was refused

    @classmethod
    def load(cls, file: str) -> "Policy":
        """Read the policy that the launcher wrote."""
        with open(file) as stream:
            values: dict[str, Any] = json.load(stream)
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})


class Guard:
    """Decides on each event and keeps what was refused in a file that worker processes write too."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._record = os.open(policy.record, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """The audit hook: returns, or raises UndeclaredAccess."""
        if event == "open":
            self.on_open(*args)
        elif event in READ_EVENTS:
            self.check_read(args[0] if args[0] is not None else ".")
        elif event in WRITE_EVENTS:
            folder = WRITE_EVENTS[event]
            self.check_write(args[0], -1 if folder is None else args[folder])
        elif event in WRITE_PAIR_EVENTS:
            self.check_write(args[0], args[2])
            self.check_write(args[1], args[3])
        elif event == "os.symlink":
            self.check_write(args[1])
        elif event in CONNECT_EVENTS:
            self.check_connection(args[0], args[1])

    def on_open(self, path: Any, mode: str | None, flags: int | None) -> None:
        """Both open() and os.open(); the latter (mode None) does not tell which folder a relative path starts from."""
        if mode is None and not isinstance(path, int) and not os.path.isabs(os.fsdecode(path)):
            return
        if (flags or 0) & WRITE_FLAGS:
            self.check_write(path)
        else:
            self.check_read(path)

    def check_read(self, path: Any) -> None:
        """Refuse a project file that is not declared, under whichever name it is asked for."""
        place = _absolute(path)
        if place is None:
            return
        if _below(place, (self.policy.work, *self.policy.readable, *self.policy.writable)):
            if self._exists_outside_only(place):
                self.refuse("read", os.path.relpath(place, self.policy.work))
        elif _below(place, self.policy.forbidden):
            self.refuse("read", self._project_name(place))

    def check_write(self, path: Any, folder: int = -1) -> None:
        """Refuse any place but the outs (and hidden temporary files beside them) and the writable folders."""
        place = _absolute(path, folder)
        if place is None or place.startswith(("/dev/", "/proc/self/")):
            return
        # a link inside the sandbox leads to the workspace's own file: judge by where the write would land
        real = os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))
        if _below(real, (*self.policy.writable, *self.policy.outs)) or self._is_temporary_of_out(real):
            return
        self.refuse("write", self._project_name(place))

    def check_connection(self, connection: Any, address: Any) -> None:
        """Refuse network connections where the plan gives none; sockets between processes are no network."""
        if self.policy.network == "none" and connection.family != getattr(socket, "AF_UNIX", None):
            self.refuse("connect to", str(address))

    def refuse(self, verb: str, what: str) -> None:
        """Remember, say and raise."""
        text = f"{self.policy.address} may not {verb} {what}"
        os.write(self._record, f"{text}\n".encode())
        raise UndeclaredAccess(f"{text}: dvc.yaml does not declare it for this stage")

    def refused(self) -> list[str]:
        """What was refused so far, in this process and its workers, each once."""
        size = os.fstat(self._record).st_size
        return list(dict.fromkeys(os.pread(self._record, size, 0).decode().splitlines()))

    def report(self) -> str:
        """What a user reads when the stage failed on a refusal."""
        lines = ["error: the stage reached for what dvc.yaml does not declare"]
        lines += [f"  what:   {text}" for text in self.refused()[:5]]
        stage = self.policy.address.split("@")[0]
        lines.append(
            f"  remedy: declare it under stages.{stage} in dvc.yaml (deps, outs; the network in configs/stages.yaml), "
            "or do without it"
        )
        return "\n".join(lines)

    def _is_temporary_of_out(self, real: str) -> bool:
        folder, name = os.path.split(real)
        return any(
            folder == os.path.dirname(out) and name.startswith(f".{os.path.basename(out)}.") for out in self.policy.outs
        )

    def _exists_outside_only(self, place: str) -> bool:
        """Whether a path of the working folder is missing there but is a file of the workspace: an undeclared input."""
        if not _below(place, (self.policy.work,)) or os.path.lexists(place):
            return False
        name = os.path.relpath(place, self.policy.work)
        return any(os.path.lexists(os.path.join(root, name)) for root in self.policy.forbidden)

    def _project_name(self, place: str) -> str:
        for folder in (self.policy.work, *self.policy.forbidden):
            if _below(place, (folder,)):
                return os.path.relpath(place, folder)
        return place


def _absolute(path: Any, folder: int = -1) -> str | None:
    """`path`, relative to the open folder number `folder` if there is one, as an absolute path.

    None for an open file's number: it was judged when it was opened.
    """
    if isinstance(path, int):
        return None
    if folder < 0:
        return os.path.abspath(os.fsdecode(path))
    start = f"/proc/self/fd/{folder}"
    # without /proc an open folder has no name; it was judged when it was opened
    return os.path.join(os.readlink(start), os.fsdecode(path)) if os.path.lexists(start) else None


def _below(place: str, folders: tuple[str, ...]) -> bool:
    return any(place == folder or place.startswith(folder + os.sep) for folder in folders)


def die_with(launcher_pid: int) -> None:
    """Make sure that this process never outlives its launcher, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch_parent, args=(launcher_pid,), daemon=True).start()
    if os.getppid() != launcher_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Install the guard and run the stage's module as `python -m` would."""
    policy = Policy.load(sys.argv[1])
    die_with(policy.launcher_pid)
    # worker processes of the stage die with the stage in the same way
    os.register_at_fork(after_in_child=lambda: die_with(os.getppid()))
    guard = Guard(policy)
    sys.addaudithook(guard.hook)
    module = sys.argv[2]
    sys.argv = sys.argv[2:]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except BaseException as error:
        # the stage, or a library in it, may have turned the refusal into an error of its own
        succeeded = isinstance(error, SystemExit) and not error.code
        if guard.refused() and not succeeded:
            sys.stderr.write(guard.report() + "\n")
            sys.exit(UNDECLARED_EXIT_CODE)
        raise


if __name__ == "__main__":
    main()
