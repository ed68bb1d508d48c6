"""What one job can compute with, as the head plans it: the head may have no GPU and other cores."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from capillary.compute.hardware import GB
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits
from stages.common.params import Params

_LEAST_GPU_GB = 6.0  # of a GPU whose memory the profile does not say
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class JobProfile(Params):
    """What one job asks for, at any place: `nodes`, and what it needs of each of them; `runtime` runs the stage there.

    `gpu_memory_gb` is per GPU, None if it was not given.
    """

    nodes: PositiveInt = 1
    cpus: PositiveInt
    memory_gb: Amount
    gpus: NonNegativeInt
    gpu_memory_gb: Amount | None
    runtime: Literal["process", "docker", "podman", "apptainer"]

    @model_validator(mode="after")
    def _nodes_reach_each_other(self) -> Self:
        if self.nodes > 1 and self.runtime in ("docker", "podman"):
            raise ValueError(
                f"nodes: {self.nodes} needs runtime: process or apptainer; containers of {self.runtime} have a network "
                "of their own, in which the processes of other nodes do not find them"
            )
        return self


def stand_ins(profile: JobProfile, place: str, name: str = "GPU of the cluster") -> tuple[Gpu, ...]:
    """Stand-ins for the GPUs that a job is given on each node."""
    size = int((profile.gpu_memory_gb or _LEAST_GPU_GB) * GB)
    return tuple(
        Gpu(index=number, uuid=f"{place}-{number}", name=name, memory_bytes=size, free_bytes=None, driver="")
        for number in range(profile.gpus)
    )


def limits_of(profile: JobProfile, reason: str) -> Limits:
    """Cores and memory of a job, on each node."""
    memory = int(profile.memory_gb * GB)
    return Limits(
        cores=profile.cpus, cores_reason=reason, memory_bytes=memory, memory_reason=reason, nodes=profile.nodes
    )
