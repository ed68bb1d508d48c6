"""configs/preflight.yaml: the thresholds of every check, and which of them stop a run when they are missed."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from stages.common.params import Params

CONFIG_FILE = "configs/preflight.yaml"
SCHEMES = ("http", "https", "postgresql", "tcp")
Gigabytes = Annotated[float, Field(ge=0)]  # 10⁹ bytes
Seconds = Annotated[float, Field(gt=0)]


class GpuParams(Params):
    """`torch_cuda` is the CUDA version of the pinned torch, for places where torch itself is not there to be asked."""

    critical: bool
    min_free_gb: Gigabytes
    torch_cuda: Annotated[str, Field(pattern=r"^\d+\.\d+$")]


class RamParams(Params):
    """Memory that a new process could have, within the limit of its container."""

    critical: bool
    min_available_gb: Gigabytes


class DiskParams(Params):
    """Free space a place."""

    critical: bool
    min_free_workspace_gb: Gigabytes
    min_free_cache_gb: Gigabytes
    min_free_runs_gb: Gigabytes
    min_free_docker_gb: Gigabytes


class SharedMemoryParams(Params):
    """The system's shared memory (/dev/shm), through which loader workers hand over arrays."""

    critical: bool
    min_free_gb: Gigabytes


class SwapParams(Params):
    """Never critical: a run can do without. A large swap is slow long before its share is used up: hence both."""

    min_total_gb: Gigabytes
    max_used_gb: Gigabytes
    max_used_percent: Annotated[float, Field(ge=0, le=100)]


class CriticalParams(Params):
    """A check that has no number."""

    critical: bool


class ServiceParams(Params):
    """One question waits `timeout_s`; a server that does not answer is asked again until `patience_s` is over."""

    critical: bool
    timeout_s: Seconds
    patience_s: Annotated[float, Field(ge=0)]


class VariableParams(Params):
    """Names of variables that a stage must have, besides those that its source or server asks for."""

    ingest: tuple[str, ...]
    preprocess: tuple[str, ...]
    train: tuple[str, ...]
    evaluate: tuple[str, ...]


class EnvironmentParams(Params):
    """Variables of the environment or .env."""

    critical: bool
    variables: VariableParams


class ClockParams(Params):
    """`earliest_year` tells a clock that was never set; servers' Date headers tell one that is off."""

    critical: bool
    max_skew_s: Seconds
    earliest_year: int


class PreflightParams(Params):
    """configs/preflight.yaml."""

    gpu: GpuParams
    ram: RamParams
    disk: DiskParams
    shared_memory: SharedMemoryParams
    swap: SwapParams
    packages: CriticalParams
    services: tuple[str, ...]
    answers: ServiceParams
    environment: EnvironmentParams
    clock: ClockParams
    data: CriticalParams
    docker: CriticalParams
    ports: CriticalParams
    git: CriticalParams

    @field_validator("services")
    @classmethod
    def _services_are_urls(cls, services: tuple[str, ...]) -> tuple[str, ...]:
        for url in services:
            parts = urlsplit(url)
            if parts.scheme not in SCHEMES or not parts.hostname:
                raise ValueError(f"{url} is not a URL with a host and one of {', '.join(SCHEMES)}")
            if parts.scheme == "tcp" and parts.port is None:
                raise ValueError(f"{url} names no port")
        return services
