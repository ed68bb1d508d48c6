"""The first thing that runs in a stage's process: holds the stage to its plan, then runs the stage.

    python -P guard.py POLICY.json stages.train --loss dice_ce --fold 0

An audit hook sees every file that Python opens, lists, makes, renames or removes and every connection. It refuses
  - reading what the stage's entry in dvc.yaml does not declare, in the project or elsewhere; the interpreter, installed
    packages, the system's folders and the user's own settings (~/.*) stay readable,
  - writing anything but the outs, the stage's temporary folder and the folders that the policy names,
  - connections, where the policy's network is `none`.
Python processes that the stage starts are held to the same: this file is their sitecustomize, too.
It is a guard against mistakes, not a wall: programs that are not Python, and C code that opens a file by itself, pass
it, though by relative paths even they find nothing but what is declared. What they write over a dep or beside the outs
is found before anything is published (publish.py). The container executor is the wall.

Standard library alone, imports nothing of this project: it runs before the sandbox's own code is importable.
"""

import importlib.machinery
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from typing import Any

UNDECLARED_EXIT_CODE = 5
STOPPED_EXIT_CODES = {128 + signal.SIGINT, 128 + signal.SIGTERM}
POLICY_VARIABLE = "CAPILLARY_POLICY"  # tells the Python processes that a stage starts where its policy lies
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
READ_EVENTS = {"os.listdir", "os.scandir", "sqlite3.connect"}
# where each event's arguments hold the number of the folder that a relative path starts from; None: nowhere
WRITE_EVENTS = {"os.rmdir": 1, "os.remove": 1, "os.truncate": None, "os.chmod": 2, "os.chown": 3, "os.utime": 3}
FOLLOWING_EVENTS = {"os.truncate", "os.chmod", "os.chown", "os.utime"}  # act on what a link leads to
WRITE_PAIR_EVENTS = {"os.rename", "os.link"}
CONNECT_EVENTS = {"socket.connect", "socket.sendto"}
CODE_SUFFIXES = tuple(importlib.machinery.all_suffixes())


class UndeclaredAccess(PermissionError):
    """A stage reached for something that its plan does not give it."""

    def __reduce__(self) -> tuple[type[PermissionError], tuple[Any, ...]]:
        """Cross from a worker process as a plain PermissionError: this module is not importable where it arrives."""
        return PermissionError, self.args


@dataclass(frozen=True)
class Policy:
    """What one stage may touch; absolute paths. Where two folders hold a path, the inner one decides."""

    address: str
    launcher_pid: int
    network: str
    base: str  # the sandbox
    work: str  # the stage's working folder in it
    home: str  # settings in it, ~/.*, are readable
    forbidden: tuple[str, ...]  # project folders: what lies below and is not declared is named as they name it
    readable: tuple[str, ...]  # declared deps, the interpreter's and the system's folders
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
        elif event == "os.mkdir":
            self.check_mkdir(args[0], args[2])
        elif event in WRITE_EVENTS:
            folder = WRITE_EVENTS[event]
            self.check_write(args[0], -1 if folder is None else args[folder], follow=event in FOLLOWING_EVENTS)
        elif event in WRITE_PAIR_EVENTS:
            self.check_write(args[0], args[2])
            self.check_write(args[1], args[3])
        elif event == "os.symlink":
            self.check_write(args[1], args[2])
        elif event in CONNECT_EVENTS:
            self.check_connection(args[0], args[1])

    def on_open(self, path: Any, mode: str | None, flags: int | None) -> None:
        """Both open() and os.open()."""
        if (flags or 0) & WRITE_FLAGS:
            self.check_write(path, follow=True)
        elif mode is not None or isinstance(path, int) or os.path.isabs(os.fsdecode(path)):
            # os.open (mode None) does not tell which folder a relative path starts from: shutil.rmtree reads so
            self.check_read(path)

    def check_read(self, path: Any) -> None:
        """Refuse what is not declared, under whichever name it is asked for."""
        place = _absolute(path)
        if place is None:
            return
        if _below(place, (self.policy.base,)):
            # of bytecode that is not there Python makes its own from the source, which is judged
            if self._exists_outside_only(place) and not place.endswith(".pyc"):
                self.refuse("read", self._name(place))
        elif not (self._is_readable(place) or self._is_readable(os.path.realpath(place))):
            self.refuse("read", self._name(place))

    def check_write(self, path: Any, folder: int = -1, *, follow: bool = False) -> None:
        """Refuse any place but the outs (and hidden temporary files beside them) and the writable folders.

        A link in the sandbox leads to the workspace's own file: a write is judged by where it would land. `follow`
        says whether a link at the end of the path is followed, too (writing does, removing does not).
        """
        place = _absolute(path, folder)
        if place is None:
            return
        head, tail = os.path.split(place)
        real = os.path.realpath(place) if follow else os.path.join(os.path.realpath(head), tail)
        if real.startswith("/dev/") or place.startswith("/proc/self/"):
            return
        if _below(real, (*self.policy.writable, *self.policy.outs)) or self._is_temporary_of_out(real):
            return
        self.refuse("write", self._name(place))

    def check_mkdir(self, path: Any, folder: int = -1) -> None:
        """As check_write, but a folder that is there already may be asked for: that changes nothing."""
        place = _absolute(path, folder)
        if place is not None and not os.path.isdir(place):
            self.check_write(place)

    def check_connection(self, connection: Any, address: Any) -> None:
        """Refuse network connections where the plan gives none; sockets between processes are no network."""
        if self.policy.network == "none" and connection.family != getattr(socket, "AF_UNIX", None):
            self.refuse("connect to", str(address))

    def refuse(self, verb: str, what: str) -> None:
        """Remember, say and raise."""
        shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in what)  # a name may hold anything
        text = f"{self.policy.address} may not {verb} {shown}"
        os.write(self._record, (json.dumps([text, self._line_of_code()]) + "\n").encode())
        raise UndeclaredAccess(f"{text}: dvc.yaml does not declare it for this stage")

    def refused(self) -> dict[str, str]:
        """What was refused so far, in this process and its workers, and the line of code that asked for it first."""
        lines = os.pread(self._record, os.fstat(self._record).st_size, 0).splitlines()
        refused: dict[str, str] = {}
        for line in lines:
            text, place = json.loads(line)
            refused.setdefault(text, place)
        return refused

    def report(self, refused: dict[str, str]) -> str:
        """What a user reads when the stage failed on what was `refused`."""
        lines = ["error: the stage reached for what dvc.yaml does not declare"]
        lines += [f"  what:   {text}{line}" for text, line in list(refused.items())[:5]]
        stage = self.policy.address.split("@")[0]
        lines.append(
            f"  remedy: declare it under stages.{stage} in dvc.yaml (deps, outs; the network in configs/stages.yaml), "
            "or do without it"
        )
        return "\n".join(lines)

    def _is_readable(self, place: str) -> bool:
        policy = self.policy
        forbidden = _depth(place, policy.forbidden)
        readable = _depth(place, (*policy.readable, *policy.writable))
        if place.startswith(policy.home + "/."):
            readable = max(readable, len(policy.home) + 1)
        return readable > forbidden or (forbidden < 0 and _is_code(place))

    def _is_temporary_of_out(self, real: str) -> bool:
        folder, name = os.path.split(real)
        return any(
            folder == os.path.dirname(out) and name.startswith(f".{os.path.basename(out)}.") for out in self.policy.outs
        )

    def _exists_outside_only(self, place: str) -> bool:
        """Whether a path of the sandbox is missing there but exists beside the workspace's files: an undeclared input.

        A former out is none: DVC removes it before most runs, so to the stage it never exists.
        """
        if os.path.lexists(place) or _below(place, self.policy.outs):
            return False
        name = os.path.relpath(place, self.policy.work)
        return any(os.path.lexists(os.path.join(root, name)) for root in self.policy.forbidden)

    def _name(self, place: str) -> str:
        """`place` as the user knows it: relative to the workspace where it lies in there or in the sandbox."""
        if _below(place, (self.policy.base,)):
            return os.path.relpath(place, self.policy.work)
        for folder in self.policy.forbidden:
            if _below(place, (folder,)):
                name = os.path.relpath(place, folder)
                return ". (the whole project)" if name == "." else name
        return place

    def _line_of_code(self) -> str:
        """Where in the stage's own code this happens: ` (stages/train/loop.py:12)`."""
        stack = traceback.walk_stack(None)
        own = self.policy.work + os.sep
        for frame, line in stack:
            if frame.f_code.co_filename.startswith(own):
                return f" ({frame.f_code.co_filename.removeprefix(own)}:{line})"
        return ""


def _absolute(path: Any, folder: int = -1) -> str | None:
    """`path`, relative to the open folder number `folder` if there is one, as an absolute path.

    None for an open file's number, which was judged when it was opened, and for a database that is no plain file.
    """
    if isinstance(path, int):
        return None
    name = os.fsdecode(path)
    if name in ("", ":memory:") or name.startswith("file:"):
        return None
    if folder < 0:
        return os.path.abspath(name)
    start = f"/proc/self/fd/{folder}"
    # without /proc an open folder has no name; it was judged when it was opened
    return os.path.join(os.readlink(start), name) if os.path.lexists(start) else None


def _below(place: str, folders: tuple[str, ...]) -> bool:
    return _depth(place, folders) >= 0


def _depth(place: str, folders: tuple[str, ...]) -> int:
    """The length of the innermost of `folders` that holds `place`; -1 when none does."""
    return max(
        (len(folder) for folder in folders if place == folder or place.startswith(folder + os.sep)),
        default=-1,
    )


def _is_code(place: str) -> bool:
    """Whether `place` is a module or lies in a package, such as one that pip installed in place from elsewhere."""
    if place.endswith(CODE_SUFFIXES):
        return True
    while (folder := os.path.dirname(place)) != place:
        if os.path.exists(os.path.join(place, "__init__.py")):
            return True
        place = folder
    return False


def install(policy_file: str) -> Guard:
    """Hold this process, and those that it forks, to the policy."""
    guard = Guard(Policy.load(policy_file))
    sys.addaudithook(guard.hook)
    return guard


def main() -> None:
    """Install the guard and run the stage's module as `python -m` would."""
    _, policy_file, module, *_ = sys.argv
    guard = install(policy_file)
    if os.getppid() != guard.policy.launcher_pid:
        sys.exit(UNDECLARED_EXIT_CODE)  # the launcher is gone already: nobody waits for this stage
    os.environ[POLICY_VARIABLE] = policy_file
    sys.argv = sys.argv[2:]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except BaseException as error:
        if not (isinstance(error, SystemExit) and not error.code):
            _explain(guard, error)
        raise


def _explain(guard: Guard, error: BaseException) -> None:
    """Report what was refused when `error` comes from it, through whichever errors the stage or a library made of it.

    The text of a refusal is all that crosses from worker processes. When the stage failed for another reason, what was
    refused on the way is only mentioned (libraries try places and do without), and not where it was asked to stop.
    """
    refused = guard.refused()
    told = "".join(traceback.format_exception(error))
    if fatal := {text: line for text, line in refused.items() if text in told}:
        sys.stderr.write(guard.report(fatal) + "\n")
        sys.exit(UNDECLARED_EXIT_CODE)
    if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code in STOPPED_EXIT_CODES):
        return
    for text, line in list(refused.items())[:5]:
        sys.stderr.write(f"note: the stage was refused on its way: {text}{line}\n")


if __name__ == "__main__":
    main()
elif __name__ == "sitecustomize" and POLICY_VARIABLE in os.environ:
    install(os.environ[POLICY_VARIABLE])
