"""The sections of an experiment file that are not params: how to run, never what comes out."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from capillary.preflight.services import NamedService
from capillary.setting_values import folder_fault
from stages.common.params import Params

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ExperimentHead(Params):
    """`experiment`: what the run is called."""

    # part of a Git reference and of a registered model's name, which both have an end
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)
    description: str = ""


class Compute(Params):
    """`compute`: on what, and where. `docker_profile`: the compose services to start where MLflow is to run on this
    machine. `place`: as CAPILLARY_PLACE, null: what that says.
    """

    profile: str = "auto"
    place: Literal["local", "slurm", "ray"] | None = None
    docker_profile: Literal["dev", "team", "none"] = "dev"
    require_gpu: bool = False


class Monitoring(Params):
    """`monitoring`: samples of memory, CPU, GPU and disk; the memory at which a stage is stopped, with a checkpoint."""

    system_monitor: bool = True
    monitor_interval_sec: Positive = 10.0
    memory_abort_process_rss_gb: Positive | None = None


class Resume(Params):
    """`resume`: whether an interrupted training continues, and the folder that keeps checkpoints (null: .capillary)."""

    enabled: bool = True
    checkpoint_dir: str | None = None

    @field_validator("checkpoint_dir")
    @classmethod
    def _as_it_is_used(cls, folder: str | None) -> str | None:
        if folder is not None and (fault := folder_fault(folder)) is not None:
            raise ValueError(f"{fault[0]}; write {fault[1]}")
        return folder


class Debug(Params):
    """`debug`: a rehearsal on little of everything, also switched on by --debug."""

    enabled: bool = False
    max_epochs: Annotated[int, Field(ge=1)] = 1
    num_folds: Annotated[int, Field(ge=1)] = 2
    max_volumes: Annotated[int, Field(ge=1)] = 10


class Sections(Params):
    """Everything of an experiment file that is not an override."""

    experiment: ExperimentHead
    compute: Compute = Compute()
    monitoring: Monitoring = Monitoring()
    resume: Resume = Resume()
    debug: Debug = Debug()
    services: tuple[NamedService, ...] = ()

    @field_validator("services")
    @classmethod
    def _one_service_per_name(cls, services: tuple[NamedService, ...]) -> tuple[NamedService, ...]:
        names = [service.name for service in services]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two services are called {twice}: give each its own name")
        return services
