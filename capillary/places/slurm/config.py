"""configs/slurm.yaml: what jobs ask of a Slurm cluster, and which stages run as jobs."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from capillary.yaml_file import read_yaml
from stages.common.errors import ParamsError
from stages.common.params import Params, validate_params

SLURM_FILE = "configs/slurm.yaml"
LEAST_WARNING_S = 30
_TIME = re.compile(r"\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d+(:\d\d){0,2}")
_OPTION = re.compile(r"--(?P<name>[a-z][a-z0-9-]*)(=[^\s].*)?")
_NAME = re.compile(r"[A-Za-z0-9_.:/@+-]+(,[A-Za-z0-9_.:/@+-]+)*")
# what the script and its submission say themselves
OWN_OPTIONS = frozenset(
    [
        *("job-name", "output", "error", "input", "export", "export-file", "chdir", "requeue", "no-requeue", "signal"),
        *("open-mode", "parsable", "wait", "wrap", "array", "nodes", "ntasks", "cpus-per-task", "mem", "mem-per-cpu"),
        *("time", "partition", "account", "qos", "gres", "gpus"),
    ]
)

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SlurmProfile(Params):
    """What one job asks for. The keys are explained at the top of configs/slurm.yaml."""

    partition: str | None
    account: str | None
    qos: str | None
    time: str
    cpus: PositiveInt
    memory_gb: Amount
    gpus: NonNegativeInt
    gpu_type: str | None
    gpu_memory_gb: Amount | None
    warn_s: Annotated[int, Field(ge=LEAST_WARNING_S, le=3600)]
    runtime: Literal["process", "docker", "podman", "apptainer"]
    extra: tuple[str, ...]

    @field_validator("partition", "account", "qos", "gpu_type")
    @classmethod
    def _plain_name(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError("must be a name that the cluster uses, without spaces")
        return name

    @field_validator("time")
    @classmethod
    def _time_limit(cls, time: str) -> str:
        if not _TIME.fullmatch(time):
            raise ValueError("must be a time limit such as 04:00:00, 2-12:00:00 or 90 (minutes), in quotes")
        return time

    @field_validator("extra")
    @classmethod
    def _options(cls, extra: tuple[str, ...]) -> tuple[str, ...]:
        for line in extra:
            option = _OPTION.fullmatch(line)
            if option is None or not line.isprintable():
                raise ValueError(f"`{line}` is not an option of sbatch; write it as --name or --name=value")
            if option["name"] in OWN_OPTIONS:
                raise ValueError(f"`--{option['name']}` is set by capillary; use the profile's own keys")
        return extra


class SlurmConfig(Params):
    """configs/slurm.yaml."""

    max_jobs: PositiveInt
    stages: dict[str, str]
    profiles: dict[str, SlurmProfile]

    @model_validator(mode="after")
    def _stages_name_profiles(self) -> "SlurmConfig":
        if unknown := [name for name in self.stages.values() if name not in self.profiles]:
            raise ValueError(f"stages names the profile `{unknown[0]}`, which profiles does not have")
        return self

    def profile_of(self, stage: str) -> SlurmProfile | None:
        """The profile of the jobs of `stage`; None for a stage that runs on the head."""
        name = self.stages.get(stage)
        return None if name is None else self.profiles[name]


def read_config(root: Path) -> SlurmConfig:
    """configs/slurm.yaml of the workspace `root`; ParamsError when it is missing or malformed."""
    if not (root / SLURM_FILE).is_file():
        raise ParamsError(
            "CAPILLARY_PLACE=slurm needs a file with the resources of its jobs",
            file=SLURM_FILE,
            remedy="copy configs/slurm.yaml from capillary's repository, or set CAPILLARY_PLACE=local",
        )
    return validate_params(SlurmConfig, read_yaml(root / SLURM_FILE), SLURM_FILE)
