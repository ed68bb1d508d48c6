"""What /proc and /dev hold: files of this process, of other processes, and of the whole machine."""

import fcntl
import os
import re
import stat

# /proc/<pid>/…, of a process or of one of its threads
_OF_PROCESS = re.compile(r"/proc/(?P<pid>\d+)(?:/task/\d+)?/(?P<name>[^/]+)")
_LINK = re.compile(r"/proc/(?P<pid>\d+)(?:/task/\d+)?/(?:cwd|root|exe|fd/(?P<number>\d+)|map_files/[^/]+)")
# what would give a stage another process's secrets and files
PRIVATE = {"environ", "mem", "auxv", "fd", "fdinfo", "map_files", "cwd", "root", "exe"}
# the memory of the whole machine, and ways past all files
MACHINE = {"/proc/kcore", "/proc/kpageflags", "/proc/vmcore", "/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg"}
# of its own process a library may set these
SETTABLE = {"comm", "oom_score_adj", "coredump_filter", "timerslack_ns", "clear_refs"}


def is_own(pid: str) -> bool:
    """Whether /proc/<pid> is this process or one of its threads."""
    return os.path.exists(f"/proc/self/task/{pid}")


def foreign_link(here: str) -> bool:
    """Whether `here` is a link of another process's, which would lead to its files."""
    match = _LINK.fullmatch(here)
    return match is not None and not is_own(match["pid"])


def open_number(here: str) -> int | None:
    """N of this process's /proc/self/fd/N; None for any other path."""
    match = _LINK.fullmatch(here)
    return int(match["number"]) if match and match["number"] and is_own(match["pid"]) else None


def is_open_for(number: int, access: int) -> bool:
    """Whether the open file `number` was opened for `access` (os.O_RDONLY or os.O_WRONLY), and so judged for it."""
    try:
        flags = fcntl.fcntl(number, fcntl.F_GETFL)
    except OSError:
        return False
    if flags & getattr(os, "O_PATH", 0):
        return False  # only a name: it can be neither read nor written
    return flags & os.O_ACCMODE in (access, os.O_RDWR)


def place_of(number: int) -> str | None:
    """The path of the open file `number`; None for a pipe or socket, and if there is no /proc."""
    try:
        place = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return None
    return place if place.startswith("/") else None


def open_folders() -> list[str]:
    """The folders that this process has open: a relative path may start from any of them."""
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return []
    places = (place_of(int(number)) for number in numbers)
    return [place for place in dict.fromkeys(places) if place is not None and os.path.isdir(place)]


def is_secret(real: str) -> bool:
    """Whether `real` is another process's secret, or the memory or a disk of the machine."""
    if real in MACHINE:
        return True
    if real.startswith("/dev/"):
        return _is_disk(real)
    match = _OF_PROCESS.match(real)
    return match is not None and match["name"] in PRIVATE and not is_own(match["pid"])


def may_be_set(real: str) -> bool:
    """Whether `real`, in /proc or /dev, may be written: settings of this process, terminals, shared memory."""
    if real.startswith("/dev/"):
        return real not in MACHINE and not _is_disk(real)
    match = _OF_PROCESS.fullmatch(real)
    return match is not None and match["name"] in SETTABLE and is_own(match["pid"])


def _is_disk(real: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(real).st_mode)
    except OSError:
        return False
