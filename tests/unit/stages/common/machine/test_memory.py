"""How much memory is left, in made-up /proc and /sys and on this machine."""

from pathlib import Path

import pytest

from stages.common.machine.memory import Room, memory_room
from tests.support.memory import little_memory

GIB = 1 << 30
MEMINFO = f"MemTotal: {64 * GIB // 1024} kB\nMemAvailable: {8 * GIB // 1024} kB\nSwapFree: {GIB // 1024} kB\n"


def _write(folder: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{content}\n")


def test_the_machine_leaves_what_is_free_and_swap(tmp_path: Path) -> None:
    """Not what it has: the rest is taken."""
    _write(tmp_path, {"proc/meminfo": MEMINFO})
    assert memory_room(tmp_path) == Room(bytes=9 * GIB, where="are free on this machine")


STAT = f"anon 1\ninactive_file {GIB}\nactive_file {GIB}"
STAT_V1 = f"inactive_file 5\ntotal_inactive_file {GIB}\ntotal_active_file {GIB}"
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
V2 = ("memory.max", "memory.current")


@pytest.mark.parametrize(
    ("line", "place", "names", "stat"),
    [
        ("0::/a/b", "sys/fs/cgroup/a/b", V2, STAT),
        ("0::/a/b", "sys/fs/cgroup/a", V2, STAT),
        ("0::/", "sys/fs/cgroup", V2, STAT),
        ("4:cpu,memory:/docker/x", "sys/fs/cgroup/memory/docker/x", V1, STAT_V1),
        ("4:memory:/as/the/host/knows/it", "sys/fs/cgroup/memory", V1, STAT_V1),
    ],
)
def test_a_group_leaves_its_limit_less_what_is_taken(
    tmp_path: Path, line: str, place: str, names: tuple[str, str], stat: str
) -> None:
    """Its own or one above it, cgroup v1 or v2, in a container too; cached files give way."""
    group = {f"{place}/{names[0]}": 4 * GIB, f"{place}/{names[1]}": 3 * GIB, f"{place}/memory.stat": stat}
    _write(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": line, **group})
    room = memory_room(tmp_path)
    assert (room.bytes, "memory limit of this container" in room.where) == (3 * GIB, True)


@pytest.mark.parametrize("limit", ["max", (1 << 63) - 4096])
def test_a_group_without_a_limit_leaves_what_the_machine_has(tmp_path: Path, limit: object) -> None:
    """As either version writes it."""
    group = {"sys/fs/cgroup/memory.max": limit, "sys/fs/cgroup/memory.current": 5}
    _write(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "1:name=systemd:/x\n0::/", **group})
    assert memory_room(tmp_path).bytes == 9 * GIB


def test_the_limit_of_the_process_counts() -> None:
    """Such as ulimit -v sets."""
    with little_memory(1 << 26):
        room = memory_room()
    assert 0 < room.bytes <= 1 << 26
    assert "ulimit" in room.where


def test_without_proc_the_whole_machine_counts(tmp_path: Path) -> None:
    """Systems other than Linux."""
    room = memory_room(tmp_path)
    assert (room.bytes > GIB // 4, room.where) == (True, "this machine has")
