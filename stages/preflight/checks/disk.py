"""Disk: room for what a run writes. Shared memory: room for what loader workers hand over."""

import os
from pathlib import Path

from stages.preflight.check import GB, Check, at_least, passed
from stages.preflight.params import SharedMemoryParams

REMEDY = "free space on this disk: dvc gc -w, capillary clean --state, du -sh .dvc/cache mlruns"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, never written


def check_disk(name: str, folder: Path, least_gb: float, remedy: str, *, critical: bool) -> Check:
    """Space that this user may still fill on the disk of `folder`, which need not exist yet."""
    free_gb = free_bytes(_existing(folder)) / GB
    return at_least(f"disk of {name}", free_gb, least_gb, f"free at {folder}", remedy, critical=critical)


def check_shared_memory(params: SharedMemoryParams, folder: Path = SHARED_MEMORY) -> Check:
    """Linux only: elsewhere there is no such folder, and torch takes other ways."""
    if not folder.is_dir():
        return passed("shared memory", "not used on this system")
    return at_least(
        "shared memory",
        free_bytes(folder) / GB,
        params.min_free_gb,
        f"free at {folder}",
        "raise shm_gb in configs/stages.yaml (a stage's container), start your own container with --shm-size=2g, or "
        "remove what killed programs left in it",
        critical=params.critical,
    )


def free_bytes(folder: Path) -> int:
    """What a user without special rights may still write there."""
    now = os.statvfs(folder)
    return now.f_bavail * now.f_frsize


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
