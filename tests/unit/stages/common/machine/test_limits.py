"""Cores and memory from real cgroup files, as version 1 and version 2 of the kernel's interface show them."""

import os
from pathlib import Path

import psutil
import pytest

from stages.common.machine.limits import find_limits

CORES = len(os.sched_getaffinity(0))
GIB = 1 << 30


def _machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal:       67108864 kB\nMemFree: 1 kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        (root / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "sys/fs/cgroup" / name).write_text(text + "\n")
    return root


def test_this_machine_s_own_limits() -> None:
    """No more than the machine has, by psutil's account."""
    limits = find_limits()
    assert 1 <= limits.cores <= (psutil.cpu_count() or 1)
    assert 0 < limits.memory_bytes <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("cgroup", "files", "memory_gib"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"memory.max": "max"}, 64),
        ("0::/\n", {"memory.max": str(8 * GIB)}, 8),
        ("0::/a/b\n", {"memory.max": "max", "a/memory.max": str(4 * GIB), "a/b/memory.max": str(16 * GIB)}, 4),
        ("0::/docker/x\n", {"memory.max": str(8 * GIB)}, 8),  # the host's path in a container
        ("5:memory:/\n", {"memory/memory.limit_in_bytes": str(2 * GIB)}, 2),
        ("5:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 64),
        ("5:cpu,memory:/docker/x\n", {"memory/memory.limit_in_bytes": str(3 * GIB)}, 3),
        ("5:memory:/a\n", {"memory/a/memory.limit_in_bytes": str(GIB), "memory/memory.limit_in_bytes": "max"}, 1),
        ("0::/\n", {"memory.max": str(128 * GIB)}, 64),
    ],
)
def test_memory_is_the_least_of_machine_and_groups(
    tmp_path: Path, cgroup: str, files: dict[str, str], memory_gib: int
) -> None:
    """A limit of any group above counts; "no limit" in either version's writing does not."""
    limits = find_limits(_machine(tmp_path, cgroup, files))
    assert limits.memory_bytes == memory_gib * GIB
    assert limits.memory_reason == ("memory of the machine" if memory_gib == 64 else "the memory limit of its cgroup")


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, CORES),
        ("0::/\n", {"cpu.max": "100000 100000"}, 1),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/a\n", {"cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1),
        ("0::/\n", {"cpu.max": "99900000 100000"}, CORES),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, CORES),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "120000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ],
)
def test_cores_are_the_least_of_affinity_and_quota(
    tmp_path: Path, cgroup: str, files: dict[str, str], cores: int
) -> None:
    """A quota of one and a half cores is one thread's worth; half a core is still one."""
    assert find_limits(_machine(tmp_path, cgroup, files)).cores == cores


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may run on 64 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "650000 100000"}, 6),
        ("0::/\n", {"cpu.max": "650000 50000"}, 13),
        ("0::/\n", {"cpu.max": "650000"}, 6),  # a period of 100 ms
        ("0::/a/b\n", {"cpu.max": "max", "a/cpu.max": "300000 100000", "a/b/cpu.max": "500000 100000"}, 3),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "650000", "cpu/cpu.cfs_period_us": "50000"}, 13),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "650000"}, 6),
        ("4:memory:/x\n3:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "500000", "cpu/x/cpu.cfs_quota_us": "100000"}, 5),
        ("0::/\n", {"cpu.max": "6399999 100000"}, 63),
        ("0::/\n", {}, 64),
    ],
)
def test_a_quota_is_counted_in_whole_cores(tmp_path: Path, cgroup: str, files: dict[str, str], cores: int) -> None:
    """In periods as the kernel has them, by the group that is this process's; the reason tells which limit it is."""
    limits = find_limits(_machine(tmp_path, cgroup, files))
    assert limits.cores == cores
    expected = "cores that this process may run on" if not files else "the CPU quota of its cgroup"
    assert limits.cores_reason == expected


def test_memory_without_a_proc_is_the_systems(tmp_path: Path) -> None:
    """As psutil sees it, if there is no /proc to read."""
    limits = find_limits(tmp_path)
    assert limits.memory_bytes == psutil.virtual_memory().total
    assert limits.memory_reason == "memory of the machine"
