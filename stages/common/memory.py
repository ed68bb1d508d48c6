"""How much memory this process can still get: the machine's, within the limits of its cgroups (v1, v2) and its own."""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_V1_NO_LIMIT = 1 << 60  # version 1 writes a huge number if there is no limit


@dataclass(frozen=True, kw_only=True)
class Room:
    """`bytes` that are left, and `where`: the narrowest of the limits, in words."""

    bytes: int
    where: str


def memory_room(top: Path = Path("/")) -> Room:
    """What is left at this moment; `top` is where /proc and /sys are looked for."""
    rooms = [*_machine(top), *_groups(top), *_address_space(top)]
    return min(rooms, key=lambda room: room.bytes)


def _machine(top: Path) -> Iterator[Room]:
    """What can be had without ending anybody, swap included."""
    file = top / "proc/meminfo"
    if not file.is_file():
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        yield Room(bytes=total, where="this machine has")
        return
    sizes = {words[0]: int(words[1]) * 1024 for line in file.read_text().splitlines() if (words := line.split())}
    free = sizes.get("MemAvailable:", sizes["MemTotal:"]) + sizes.get("SwapFree:", 0)
    yield Room(bytes=free, where="are free on this machine")


def _groups(top: Path) -> Iterator[Room]:
    """What the group of this process and every group above it leave; files in the cache give way."""
    file = top / "proc/self/cgroup"
    for line in file.read_text().splitlines() if file.is_file() else ():
        _, kinds, name = line.split(":", 2)
        if not kinds:
            folder, names = top / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in kinds.split(","):
            folder, names = top / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        own = folder / name.strip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(folder):
                yield from _left(group, *names)


def _left(group: Path, limit_name: str, usage_name: str) -> Iterator[Room]:
    limit, usage = (_number(group / name) for name in (limit_name, usage_name))
    if limit is None or usage is None or limit >= _V1_NO_LIMIT:
        return
    file = group / "memory.stat"
    stat = dict(line.split() for line in file.read_text().splitlines()) if file.is_file() else {}
    names = ("total_inactive_file", "total_active_file")
    cached = sum(int(stat.get(name, stat.get(name.removeprefix("total_"), 0))) for name in names)
    yield Room(bytes=max(0, limit - usage + cached), where="are left by the memory limit of this container or cgroup")


def _number(file: Path) -> int | None:
    text = file.read_text().strip() if file.is_file() else "max"
    return None if text == "max" else int(text)


def _address_space(top: Path) -> Iterator[Room]:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    file = top / "proc/self/statm"
    if limit != resource.RLIM_INFINITY and file.is_file():
        used = int(file.read_text().split()[0]) * resource.getpagesize()
        yield Room(bytes=max(0, limit - used), where="are left by the limit of this process (ulimit -v)")
