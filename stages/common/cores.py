"""Cores that this process may use: those of its affinity, within the CPU quotas of its cgroups (v1 and v2)."""

import os
from collections.abc import Iterator
from pathlib import Path

QUOTA = "the CPU quota of its cgroup"


def allowed_cores(root: Path = Path("/")) -> tuple[int, str]:
    """(a whole number, at least 1; what is the narrowest). `root` is where /proc and /sys are looked for."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores, reason = min([(float(affinity), "cores that this process may run on"), *_quotas(root)])
    return max(1, int(cores)), reason


def groups_of(root: Path, controller: str) -> Iterator[Path]:
    """This process's cgroup for `controller` ("" is v2) and every group above it, up to the mount.

    In a container the path that /proc tells may be the host's, where the mount shows the container's own group as its
    root; folders that do not exist are passed over, so the root is always looked at.
    """
    mount = root / "sys/fs/cgroup" / controller
    for line in lines_of(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            parts = path.strip("/").split("/") if path.strip("/") else []
            for end in range(len(parts), -1, -1):
                folder = mount.joinpath(*parts[:end])
                if folder.is_dir():
                    yield folder
            return


def first_line(file: Path) -> str | None:
    """The first line of `file`; None if there is none."""
    return next(iter(lines_of(file)), None)


def lines_of(file: Path) -> list[str]:
    """The lines of `file`; none if it is not there."""
    return file.read_text().splitlines() if file.is_file() else []


def _quotas(root: Path) -> Iterator[tuple[float, str]]:
    """Quotas in cores: cpu.max of every group above this process (v2), cpu.cfs_quota_us (v1)."""
    for folder in groups_of(root, ""):
        quota, *period = (first_line(folder / "cpu.max") or "max").split()
        if quota != "max":
            yield int(quota) / int(period[0] if period else 100_000), QUOTA
    for folder in groups_of(root, "cpu"):
        quota_us = int(first_line(folder / "cpu.cfs_quota_us") or -1)
        if quota_us > 0:
            period_us = int(first_line(folder / "cpu.cfs_period_us") or 100_000)
            yield quota_us / period_us, QUOTA
