"""What one job has to compute with, as the head sees it: the head itself may have no GPU and other cores."""

from typing import Protocol

from capillary.compute.hardware import GB
from capillary.compute.limits import Limits
from stages.preflight.checks.devices import Gpu

_LEAST_GPU_GB = 6.0  # of a GPU whose memory the profile does not say


class Share(Protocol):
    """What a profile of any place says about one job."""

    @property
    def cpus(self) -> int:
        """Cores."""

    @property
    def memory_gb(self) -> float:
        """GB of main memory."""

    @property
    def gpus(self) -> int:
        """How many GPUs."""

    @property
    def gpu_memory_gb(self) -> float | None:
        """GB of each of them; None where nobody said."""


def stand_ins(share: Share, place: str, name: str = "GPU of the cluster") -> tuple[Gpu, ...]:
    """Stand-ins for the GPUs that a job is given."""
    size = int((share.gpu_memory_gb or _LEAST_GPU_GB) * GB)
    return tuple(
        Gpu(index=number, uuid=f"{place}-{number}", name=name, memory_bytes=size, free_bytes=None, driver="")
        for number in range(share.gpus)
    )


def limits_of(share: Share, reason: str) -> Limits:
    """Cores and memory of a job."""
    memory = int(share.memory_gb * GB)
    return Limits(cores=share.cpus, cores_reason=reason, memory_bytes=memory, memory_reason=reason)
