"""The audit hook: each of Python's events judged by the policy."""

import json
import os
import traceback
from typing import Any

from .network import BIND, CONNECTIONS, LOOK_UPS, Refusal, refuse_connection, refuse_look_up
from .paths import Grant, ResolvedPath, absolute, database_file, follow, follow_to
from .policy import Policy, UndeclaredAccess, below
from .system import is_open_for, is_secret, may_be_set, open_folders, place_of

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LIST_EVENTS = {"os.listdir", "os.scandir"}
# where each event's arguments hold the number of the folder that a relative path starts from; None: nowhere
REMOVE_EVENTS = {"os.rmdir": 1, "os.remove": 1}
# these act on what a link leads to, or on an open file
CHANGE_EVENTS = {
    **dict.fromkeys(("os.truncate", "os.setxattr", "os.removexattr", "os.chflags")),
    **{"os.chmod": 2, "os.chown": 3, "os.utime": 3},
}


class Guard:
    """Decides on each event and keeps what was refused in a file that worker processes write too."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._record = os.open(policy.record, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        # folders from which every plain file may be read: nearly all opened files are modules in a few hundred of them
        self._open_folders: set[str] = set()

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """The audit hook: returns, or raises UndeclaredAccess."""
        if event == "open":
            self.on_open(*args)
        elif event.startswith("os."):
            self.on_change(event, args)
        elif event.startswith("socket."):
            self.on_socket(event, args)
        elif event == "sqlite3.connect" and (file := database_file(args[0])) is not None:
            self.check_read(file)

    def on_open(self, path: Any, mode: str | None, flags: int | None) -> None:
        """Both open() and os.open()."""
        writes = bool((flags or 0) & WRITE_FLAGS)
        if mode is None and not isinstance(path, int) and not os.path.isabs(os.fsdecode(path)):
            self.check_from_open_folders(path, writes=writes)
        elif writes:
            self.check_write(path, follow_link=True)
        else:
            self.check_read(path)

    def on_change(self, event: str, args: tuple[Any, ...]) -> None:
        """Whatever os does to names and files but for opening them."""
        if event in LIST_EVENTS:
            self.check_read(args[0] if args[0] is not None else ".")
        elif event == "os.mkdir":
            self.check_mkdir(args[0], args[2])
        elif event in REMOVE_EVENTS:
            self.check_write(args[0], args[REMOVE_EVENTS[event]])
        elif event in CHANGE_EVENTS:
            folder = CHANGE_EVENTS[event]
            self.check_change(args[0], -1 if folder is None else args[folder])
        elif event in ("os.rename", "os.link"):
            # with an open folder os.link follows a link, unless it is told not to, which the event does not tell
            follows = event == "os.link" and args[2:4] != (-1, -1)
            self.check_write(args[0], args[2], follow_link=follows)
            self.check_write(args[1], args[3])
        elif event == "os.symlink":
            self.check_write(args[1], args[2])

    def on_socket(self, event: str, args: tuple[Any, ...]) -> None:
        """Connections, messages, listening and look-ups."""
        refusal: Refusal | None = None
        if event in CONNECTIONS:
            refusal = refuse_connection(event, args[0].family, args[1], self.policy.network)
        elif event in LOOK_UPS:
            refusal = refuse_look_up(args[0], self.policy.network)
        if refusal is not None:
            self.refuse(*refusal)
        if event == BIND and isinstance(args[1], str | bytes) and os.fsdecode(args[1])[:1] not in ("", "\0"):
            self.check_write(args[1])  # a socket between processes is a file

    def check_read(self, path: Any) -> None:
        """Refuse what is not declared, under whichever name it is asked for."""
        name = absolute(path)
        if name is None:
            return
        folder, tail = os.path.split(name)
        if folder in self._open_folders and tail not in (".", "..") and not os.path.islink(name):
            return
        way = follow(name, self._grant_of)
        if not self._may_read(way):
            self.refuse("read", self._name(way))
        self._remember(folder, way)

    def check_write(self, path: Any, folder: int = -1, *, follow_link: bool = False) -> None:
        """Refuse any place but the outs (and hidden temporary files next to them) and the writable folders.

        A link in the sandbox leads to the workspace's own file: a write is judged by where it would land.
        `follow_link` says whether a link at the end of the path is followed, too (writing does, removing does not).
        """
        name = absolute(path, folder)
        if name is None:
            return
        way = (follow if follow_link else follow_to)(name, self._grant_of)
        if not self._may_write(way):
            self.refuse("write", self._name(way))

    def check_change(self, path: Any, folder: int) -> None:
        """As check_write through links; an open file that was opened for reading alone is judged by its path."""
        if not isinstance(path, int):
            self.check_write(path, folder, follow_link=True)
        elif not is_open_for(path, os.O_WRONLY) and (place := place_of(path)) is not None:
            self.check_write(place)

    def check_mkdir(self, path: Any, folder: int = -1) -> None:
        """As check_write, but a folder that is there already may be asked for: that changes nothing."""
        name = absolute(path, folder)
        if name is not None and not os.path.isdir(name):
            self.check_write(name)

    def check_from_open_folders(self, path: Any, *, writes: bool) -> None:
        """As check_read and check_write for os.open, which may start from an open folder and does not tell from which.

        What exists below any of them is judged. What would be new is judged from the working folder; new files
        elsewhere are found before anything is published.
        """
        name = os.fsdecode(path)
        if writes:
            self.check_write(path, follow_link=True)
        for folder in (os.getcwd(), *open_folders()):
            file = os.path.join(folder, name)
            if not os.path.lexists(file):
                continue
            if writes:
                self.check_write(file, follow_link=True)
            else:
                self.check_read(file)

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

    def _may_read(self, way: ResolvedPath) -> bool:
        if way.foreign:
            return False
        if way.opened is not None and is_open_for(way.opened, os.O_RDONLY):
            return True  # judged when it was opened
        if below(way.real, (self.policy.base,)):
            # of bytecode that is not there Python makes its own from the source, which is judged
            return way.real.endswith(".pyc") or not self.policy.exists_outside_only(way.real)
        if is_secret(way.real):
            return False
        return self.policy.is_readable(way.real) or way.is_granted(self.policy.is_of_project)

    def _may_write(self, way: ResolvedPath) -> bool:
        if way.foreign:
            return False
        if way.opened is not None and is_open_for(way.opened, os.O_WRONLY):
            return True
        if way.real.startswith(("/dev/", "/proc/")):
            return may_be_set(way.real)
        return self.policy.is_writable(way.real)

    def _grant_of(self, link: str, target: str) -> Grant | None:
        """What `link` gives: nothing if the stage itself could have made it, or the kernel makes it up."""
        policy = self.policy
        if policy.is_writable(link) or link.startswith(("/proc/", "/dev/")):
            return None
        declared = below(link, (policy.base,)) or policy.is_of_project(link)
        if below(link, (policy.base,)) or policy.is_readable(link):
            return Grant(target=os.path.realpath(target), declared=declared)
        return None

    def _remember(self, folder: str, way: ResolvedPath) -> None:
        """Note `folder` where whatever is in it may be read, and the stage can change nothing in it."""
        real = os.path.dirname(way.real)
        if way.grants or way.opened is not None or real != folder or real.startswith(("/proc", "/dev")):
            return
        policy = self.policy
        plain = policy.is_readable(os.path.join(real, "*")) and not policy.is_writable(real)
        if plain and not any(below(inner, (real,)) for inner in (*policy.forbidden, policy.base, *policy.outs)):
            self._open_folders.add(folder)

    def _name(self, way: ResolvedPath) -> str:
        """The path as the user knows it, and where it leads when that is another one."""
        name, real = self.policy.name_of(way.place), self.policy.name_of(way.real)
        return name if name == real else f"{name} (which leads to {real})"

    def _line_of_code(self) -> str:
        """Where in the stage's own code this happens: ` (stages/train/launch.py:12)`."""
        stack = traceback.walk_stack(None)
        own = self.policy.work + os.sep
        for frame, line in stack:
            if frame.f_code.co_filename.startswith(own):
                return f" ({frame.f_code.co_filename.removeprefix(own)}:{line})"
        return ""
