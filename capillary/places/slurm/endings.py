"""How a job without an ended.json ended according to Slurm, in plain words with a remedy."""

from collections.abc import Mapping
from pathlib import Path

from capillary.places.slurm.watch import GONE
from stages.common.errors import CapillaryError, ExitCode, MachineError

_CAUSES = {
    "OUT_OF_MEMORY": (
        "ran out of the memory that it had requested",
        "raise memory_gb of its profile in configs/slurm.yaml, or reduce what it processes at once "
        "(training.batch_size, "
        "training.patch_voxels); then repeat to resume",
        ExitCode.MACHINE,
    ),
    "TIMEOUT": (
        "was killed at its time limit before it could checkpoint",
        "raise warn_s or time of its profile in configs/slurm.yaml, then repeat to resume",
        ExitCode.MACHINE,
    ),
    "CANCELLED": ("was cancelled", "repeat the command: it resumes", ExitCode.TERMINATED),
    "DEADLINE": (
        "could not end before its deadline",
        "remove --deadline from extra in configs/slurm.yaml, or move it; then repeat to resume",
        ExitCode.MACHINE,
    ),
    GONE: (
        "is no longer known to Slurm and left no result",
        "repeat the command: it resumes. If this happens again, ask the cluster's administrators about the job",
        ExitCode.MACHINE,
    ),
}
_UNKNOWN = (
    "could not do its work on the node",
    "read the log: usually the node does not see the project's folder or its Python environment at the same path",
    ExitCode.MACHINE,
)


def explain(word: str, address: str, job: str, log: Path) -> CapillaryError:
    """The error for a job of `address` without an ended.json, which Slurm says ended with `word`."""
    what, remedy, code = _CAUSES.get(word, _UNKNOWN)
    return CapillaryError(f"job {job} of {address} {what}", file=log, value=word, remedy=remedy, code=code)


def nodes_full(address: str, full: Mapping[str, str]) -> CapillaryError:
    """The error for a job of `address` for which no node is left. `full` maps nodes to their folders for temporary
    files.
    """
    return MachineError(
        f"the job of {address} found the disk of every node full that it ran on: {', '.join(full)}",
        file=", ".join(dict.fromkeys(full.values())),
        value=f"Slurm was asked for other nodes (--exclude={','.join(full)})",
        remedy="free space in that folder on these nodes, or ask for nodes that have it (extra: [--tmp=20G] in "
        "configs/slurm.yaml); then repeat to resume",
    )
