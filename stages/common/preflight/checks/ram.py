"""RAM: what a new process could have, within the limit of its container."""

from pathlib import Path

import psutil

from stages.common.machine.memory import rooms_of_groups
from stages.common.preflight.check import GB, Check, at_least
from stages.common.preflight.params import RamParams
from stages.common.runtime import NOTHING_KNOWN, Need


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
    left = (float(room.bytes) for room in rooms_of_groups(top))
    return min([float(psutil.virtual_memory().available), *left])
