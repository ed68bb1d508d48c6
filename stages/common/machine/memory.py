"""Memory: what this machine has and a process here may take, and how much of it is left at this moment.

The machine's, within the limits of this process's cgroups (v1 and v2) and its own. `top` is where /proc and /sys are
looked for.
"""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.common.machine.cgroups import first_line, groups_of, lines_of

_V1_NO_LIMIT = 1 << 60  # version 1 writes a huge number if there is no limit
# controller ("" is v2), the files with the limit and with what is taken
_GROUP_FILES = (("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))


@dataclass(frozen=True, kw_only=True)
class Room:
    """`bytes` that are left, and `where`: the narrowest of the limits, in words."""

    bytes: int
    where: str


def memory_room(top: Path = Path("/")) -> Room:
    """What is left at this moment, swap included."""
    rooms = [_machine(top), *rooms_of_groups(top), *_address_space(top)]
    return min(rooms, key=lambda room: room.bytes)


def allowed_memory(top: Path) -> tuple[int, str]:
    """(bytes that a process may take if nothing else does; what is the narrowest)."""
    limits = [(limit, "the memory limit of its cgroup") for _, limit, _ in _limited_groups(top)]
    return min([(_total(_sizes(top)), "memory of the machine"), *limits])


def rooms_of_groups(top: Path) -> Iterator[Room]:
    """What the group of this process and every group above it leave; cached files count as free."""
    for group, limit, taken_file in _limited_groups(top):
        taken = first_line(group / taken_file)
        if taken is not None:
            left = max(0, limit - int(taken) + _cached(group))
            yield Room(bytes=left, where="are left by the memory limit of this container or cgroup")


def _machine(top: Path) -> Room:
    """What is available without ending a process, swap included."""
    sizes = _sizes(top)
    if not sizes:
        return Room(bytes=_total(sizes), where="this machine has")
    free = sizes.get("MemAvailable:", sizes["MemTotal:"]) + sizes.get("SwapFree:", 0)
    return Room(bytes=free, where="are free on this machine")


def _total(sizes: dict[str, int]) -> int:
    return sizes.get("MemTotal:") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _sizes(top: Path) -> dict[str, int]:
    """Bytes by their names in /proc/meminfo; none on other systems than Linux."""
    return {words[0]: int(words[1]) * 1024 for line in lines_of(top / "proc/meminfo") if (words := line.split())}


def _limited_groups(top: Path) -> Iterator[tuple[Path, int, str]]:
    """Each group above this process that has a limit, its limit, and the name of the file with what is taken of it."""
    for controller, limit_file, taken_file in _GROUP_FILES:
        for group in groups_of(top, controller):
            limit = first_line(group / limit_file) or "max"
            if limit != "max" and int(limit) < _V1_NO_LIMIT:
                yield group, int(limit), taken_file


def _cached(group: Path) -> int:
    stat = dict(line.split() for line in lines_of(group / "memory.stat"))
    names = ("total_inactive_file", "total_active_file")
    return sum(int(stat.get(name, stat.get(name.removeprefix("total_"), 0))) for name in names)


def _address_space(top: Path) -> Iterator[Room]:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = first_line(top / "proc/self/statm")
    if limit != resource.RLIM_INFINITY and used is not None:
        left = max(0, limit - int(used.split()[0]) * resource.getpagesize())
        yield Room(bytes=left, where="are left by the limit of this process (ulimit -v)")
