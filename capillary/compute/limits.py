"""Cores and memory that this process may use: what the machine has, within affinity and cgroup limits (v1 and v2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.common.cores import allowed_cores, first_line, groups_of, lines_of

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
    cores, cores_reason = allowed_cores(root)
    memory = min([(_machine_memory(root), "memory of the machine"), *_memory_limits(root)])
    return Limits(cores=cores, cores_reason=cores_reason, memory_bytes=memory[0], memory_reason=memory[1])


def _machine_memory(root: Path) -> int:
    for line in lines_of(root / "proc/meminfo"):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    import psutil  # if there is no /proc

    return int(psutil.virtual_memory().total)


def _memory_limits(root: Path) -> Iterator[tuple[int, str]]:
    names = [("", "memory.max"), ("memory", "memory.limit_in_bytes")]
    for controller, name in names:
        for folder in groups_of(root, controller):
            limit = first_line(folder / name) or "max"
            if limit != "max" and int(limit) < NO_LIMIT_BYTES:
                yield int(limit), "the memory limit of its cgroup"
