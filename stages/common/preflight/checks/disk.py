"""Disk: room for what a run writes. Shared memory: room for what loader workers hand over."""

import errno
import os
import tempfile
from pathlib import Path

from stages.common.preflight.check import GB, Check, at_least, missed, passed
from stages.common.preflight.params import SharedMemoryParams
from stages.common.runtime import NOTHING_KNOWN, Need

REMEDY = (
    "free space on this disk: dvc gc -w --all-commits --all-experiments, capillary clean --state, "
    "du -sh .dvc/cache mlruns"
)
_PROBE_BYTES = 1 << 12
_WRITE_REMEDIES = {
    errno.EACCES: "give your user write access (chown, chmod; see ls -ld)",
    errno.EPERM: "give your user write access (chown, chmod; see ls -ld)",
    errno.EROFS: "mount it writable, or move the project to another disk",
    errno.EDQUOT: "free space or files under your quota (quota -s shows it)",
    errno.ENOSPC: "free space, or remove files if no inodes are left (df -i shows it)",
    errno.ENOTDIR: "it is a file: move it away",
}
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, never written


def check_disk(
    name: str,
    folder: Path,
    least_gb: float,
    remedy: str,
    *,
    critical: bool,
    why: str = "",
    write: bool = True,
) -> Check:
    """Space that this user can still fill on the disk of `folder`, which need not exist yet.

    With `write` a file without a name is written there: no permission, a read-only disk, a quota or a table of files
    (inodes) that is used up show in nothing else.
    """
    place = existing(folder)
    free_gb = free_bytes(place) / GB
    if write and free_gb >= least_gb and (fault := write_fault(place)) is not None:
        value = f"{folder} cannot be written: {fault[0]}"
        return missed(f"disk of {name}", value, "can be written", fault[1], critical=critical)
    return at_least(f"disk of {name}", free_gb, least_gb, f"free at {folder}", remedy, critical=critical, why=why)


def write_fault(folder: Path) -> tuple[str, str] | None:
    """(what the system says, the remedy) where a file in `folder` cannot be written; None if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"0" * _PROBE_BYTES)
            stream.flush()
    except OSError as error:
        return error.strerror or str(error), _WRITE_REMEDIES.get(error.errno or 0, f"see ls -ld {folder}")
    return None


def check_shared_memory(params: SharedMemoryParams, folder: Path = SHARED_MEMORY, need: Need = NOTHING_KNOWN) -> Check:
    """Linux only: elsewhere there is no such folder, and torch takes other ways."""
    if not folder.is_dir():
        return passed("shared memory", "not used on this system")
    least_gb, why = need.least(params.min_free_gb, "shared_memory_gb")
    return at_least(
        "shared memory",
        free_bytes(folder) / GB,
        least_gb,
        f"free at {folder}",
        "raise shm_gb in configs/stages.yaml (a stage's container), start your own container with --shm-size=2g, or "
        "remove what killed programs left in it",
        critical=params.critical,
        why=why,
    )


def free_bytes(folder: Path) -> int:
    """What a user without special rights may still write there."""
    now = os.statvfs(folder)
    return now.f_bavail * now.f_frsize


def existing(folder: Path) -> Path:
    """`folder`, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())
