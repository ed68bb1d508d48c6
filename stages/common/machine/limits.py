"""Cores and memory that this process may use: what the machine has, within affinity and cgroup limits (v1 and v2)."""

from dataclasses import dataclass
from pathlib import Path

from stages.common.machine.cores import allowed_cores
from stages.common.machine.memory import allowed_memory


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`cores` is a whole number, at least 1. The reasons name what is the narrowest.

    `nodes` is on how many machines one training runs, each with these cores and this memory.
    """

    cores: int
    cores_reason: str
    memory_bytes: int
    memory_reason: str
    nodes: int = 1


def find_limits(root: Path = Path("/")) -> Limits:
    """The limits of this process; `root` is where /proc and /sys are looked for."""
    (cores, cores_reason), (memory, memory_reason) = allowed_cores(root), allowed_memory(root)
    return Limits(cores=cores, cores_reason=cores_reason, memory_bytes=memory, memory_reason=memory_reason)
