"""Cores that this process may use: those of its affinity, within the CPU quotas of its cgroups (v1 and v2)."""

import os
from collections.abc import Iterator
from pathlib import Path

from stages.common.machine.cgroups import first_line, groups_of

QUOTA = "the CPU quota of its cgroup"


def allowed_cores(root: Path = Path("/")) -> tuple[int, str]:
    """(a whole number, at least 1; what is the narrowest). `root` is where /proc and /sys are looked for."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores, reason = min([(float(affinity), "cores that this process may run on"), *_quotas(root)])
    return max(1, int(cores)), reason


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
