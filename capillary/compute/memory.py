"""How much memory a stage's container may take: what configs/stages.yaml says, else a share of the machine."""

from typing import Literal

GIB = 1 << 30
# reserved for the system, the daemon, DVC and an MLflow server
RESERVED_SHARE = 0.1
RESERVED_BYTES = (1 * GIB, 16 * GIB)  # at least, at most
LEAST_BYTES = 1 * GIB  # a stage that imports torch takes a third of it before it does anything


def memory_limit(memory_gb: float | Literal["none"] | None, machine_bytes: int | None, side_by_side: int) -> int | None:
    """The limit in bytes of a container whose entry says `memory_gb` (GiB); None for none.

    `machine_bytes` is the memory of the daemon's machine, None if it does not tell; `side_by_side` is how many
    stages an experiment runs there at once.
    """
    if memory_gb == "none":
        return None
    if memory_gb is not None:
        return int(memory_gb * GIB)
    return None if machine_bytes is None else default_share(machine_bytes, side_by_side)


def default_share(machine_bytes: int, side_by_side: int) -> int:
    """What a machine with `machine_bytes` has beyond its own needs, for one of `side_by_side` containers."""
    least, most = RESERVED_BYTES
    reserved = min(max(int(machine_bytes * RESERVED_SHARE), least), most)
    return max((machine_bytes - reserved) // side_by_side, LEAST_BYTES)
