"""Cores and memory that this process may use: what the machine has, within affinity and cgroup limits (v1 and v2)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# cgroup v1 writes "no limit" as a number near 2^63; no machine has this much
NO_LIMIT_BYTES = 1 << 60


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`cores` is a whole number, at least 1. The reasons name what is the narrowest."""

    cores: int
    cores_reason: str
    memory_bytes: int
    memory_reason: str


def find_limits(root: Path = Path("/")) -> Limits:
    """The limits of this process; `root` is where /proc and /sys are looked for."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min([(float(affinity), "cores that this process may run on"), *_cpu_quotas(root)])
    memory = min([(_machine_memory(root), "memory of the machine"), *_memory_limits(root)])
    return Limits(cores=max(1, int(cores[0])), cores_reason=cores[1], memory_bytes=memory[0], memory_reason=memory[1])


def _machine_memory(root: Path) -> int:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    import psutil  # if there is no /proc

    return int(psutil.virtual_memory().total)


def _cpu_quotas(root: Path) -> Iterator[tuple[float, str]]:
    """Quotas in cores: cpu.max of every group above this process (v2), cpu.cfs_quota_us (v1)."""
    for folder in _groups(root, ""):
        quota, *period = (_first_line(folder / "cpu.max") or "max").split()
        if quota != "max":
            yield int(quota) / int(period[0] if period else 100_000), "the CPU quota of its cgroup"
    for folder in _groups(root, "cpu"):
        quota_us = int(_first_line(folder / "cpu.cfs_quota_us") or -1)
        if quota_us > 0:
            period_us = int(_first_line(folder / "cpu.cfs_period_us") or 100_000)
            yield quota_us / period_us, "the CPU quota of its cgroup"


def _memory_limits(root: Path) -> Iterator[tuple[int, str]]:
    names = [("", "memory.max"), ("memory", "memory.limit_in_bytes")]
    for controller, name in names:
        for folder in _groups(root, controller):
            limit = _first_line(folder / name) or "max"
            if limit != "max" and int(limit) < NO_LIMIT_BYTES:
                yield int(limit), "the memory limit of its cgroup"


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """This process's cgroup for `controller` ("" is v2) and every group above it, up to the mount.

    In a container the path that /proc tells may be the host's, where the mount shows the container's own group as its
    root; folders that do not exist are passed over, so the root is always looked at.
    """
    mount = root / "sys/fs/cgroup" / controller
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            parts = path.strip("/").split("/") if path.strip("/") else []
            for end in range(len(parts), -1, -1):
                folder = mount.joinpath(*parts[:end])
                if folder.is_dir():
                    yield folder
            return


def _first_line(file: Path) -> str | None:
    return next(iter(_lines(file)), None)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.is_file() else []
