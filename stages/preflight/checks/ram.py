"""RAM: what a new process could have, within the limit of its container."""

from collections.abc import Iterator
from pathlib import Path

import psutil

from stages.common.runtime import NOTHING_KNOWN, Need
from stages.preflight.check import GB, Check, at_least
from stages.preflight.params import RamParams

_V1_NO_LIMIT = 1 << 60  # version 1 writes a huge number if there is no limit


def check_ram(available_bytes: float, params: RamParams, need: Need = NOTHING_KNOWN) -> Check:
    """Free memory against the least that a run needs."""
    least_gb, why = need.least(params.min_available_gb, "ram_gb")
    return at_least(
        "ram",
        available_bytes / GB,
        least_gb,
        "available",
        "end other programs, run fewer cells at once, raise memory_gb in configs/stages.yaml (or Docker Desktop's "
        "memory limit), or make training.batch_size or training.patch_voxels smaller",
        critical=params.critical,
        why=why,
    )


def available_bytes(top: Path = Path("/")) -> float:
    """The least of what the machine has available and what each control group above this process leaves."""
    return min([float(psutil.virtual_memory().available), *_left_by_groups(top)])


def _left_by_groups(top: Path) -> Iterator[float]:
    listed = top / "proc/self/cgroup"
    for line in listed.read_text().splitlines() if listed.is_file() else ():
        _, kinds, name = line.split(":", 2)
        if kinds == "":
            yield from _left(top / "sys/fs/cgroup", name, "memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            folder = top / "sys/fs/cgroup/memory"
            yield from _left(folder, name, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _left(base: Path, name: str, limit_name: str, used_name: str, cache_key: str) -> Iterator[float]:
    """Limit minus use of the group `name` and those above it; cached files do not count as used."""
    group = base / name.strip("/")
    for folder in (group, *group.parents):
        limit_file, used_file = folder / limit_name, folder / used_name
        if limit_file.is_file() and used_file.is_file() and (limit := limit_file.read_text().strip()) != "max":
            used = int(used_file.read_text()) - _stat(folder / "memory.stat", cache_key)
            if int(limit) < _V1_NO_LIMIT:
                yield float(max(0, int(limit) - used))
        if folder == base:
            return


def _stat(file: Path, key: str) -> int:
    rows = (line.split() for line in file.read_text().splitlines()) if file.is_file() else ()
    return next((int(value) for name, value in rows if name == key), 0)
