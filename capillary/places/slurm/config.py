"""configs/slurm.yaml: what jobs ask of a Slurm cluster, and which stages run as jobs."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from capillary.places.config import PlaceConfig, read_place
from capillary.places.share import JobProfile

SLURM_FILE = "configs/slurm.yaml"
LEAST_WARNING_S = 30
EARLY_S = 60  # so much sooner Slurm may send a signal than it was asked to
_TIME = re.compile(r"\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d+(:\d\d){0,2}")
_OPTION = re.compile(r"--(?P<name>[a-z][a-z0-9-]*)(=[^\s].*)?")
_EXCLUDE = "--exclude="
_NAME = re.compile(r"[A-Za-z0-9_.:/@+-]+(,[A-Za-z0-9_.:/@+-]+)*")
# what the script and its submission say themselves
OWN_OPTIONS = frozenset(
    [
        *("job-name", "output", "error", "input", "export", "export-file", "chdir", "requeue", "no-requeue", "signal"),
        *("open-mode", "parsable", "wait", "wrap", "array", "nodes", "ntasks", "cpus-per-task", "mem", "mem-per-cpu"),
        *("ntasks-per-node",),
        *("time", "partition", "account", "qos", "gres", "gpus"),
    ]
)


class SlurmProfile(JobProfile):
    """What one job asks for. The keys are explained at the top of configs/slurm.yaml."""

    partition: str | None
    account: str | None
    qos: str | None
    time: str
    gpu_type: str | None
    warn_s: Annotated[int, Field(ge=LEAST_WARNING_S, le=3600)]
    extra: tuple[str, ...]
    files: Literal["shared", "remote"] = "shared"
    python: str | None = None

    @property
    def is_apart(self) -> bool:
        """Whether the nodes share no disk with the head."""
        return self.files == "remote"

    def without(self, nodes: Collection[str]) -> Self:
        """This profile for jobs that do not run on `nodes`, nor on those that `extra` excludes."""
        if not nodes:
            return self
        excluded = [line for line in self.extra if line.startswith(_EXCLUDE)]
        named = (line.removeprefix(_EXCLUDE) for line in excluded)
        others = (line for line in self.extra if line not in excluded)
        return self.model_copy(update={"extra": (*others, f"{_EXCLUDE}{','.join([*named, *nodes])}")})

    @model_validator(mode="after")
    def _apart_as_processes(self) -> Self:
        if self.is_apart and self.runtime != "process":
            raise ValueError("`files: remote` needs `runtime: process`: images are built from files of the project")
        if self.python is not None and not self.is_apart:
            raise ValueError("`python` is of use with `files: remote`: nodes that share the project have its own")
        return self

    @field_validator("python")
    @classmethod
    def _absolute(cls, python: str | None) -> str | None:
        if python is not None and not (python.startswith("/") and python.isprintable()):
            raise ValueError("must be the absolute path of the nodes' Python, such as /opt/capillary/bin/python")
        return python

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

    @model_validator(mode="after")
    def _leaves_time_to_work(self) -> Self:
        if 0 < _seconds(self.time) <= self.warn_s + EARLY_S:
            raise ValueError(
                f"time: {self.time} leaves a job no time: Slurm may ask it to checkpoint {EARLY_S} s before the "
                f"{self.warn_s} s of warn_s, which would end it before it has begun; set time to minutes above "
                f"{self.warn_s + EARLY_S} s, or lower warn_s"
            )
        return self

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

    @model_validator(mode="after")
    def _nodes_share_a_folder(self) -> Self:
        if self.nodes > 1 and self.is_apart:
            raise ValueError(f"nodes: {self.nodes} needs `files: shared`: the nodes of a training share its folder")
        return self


def _seconds(time: str) -> int:
    """The seconds in a time limit, in the notation of sbatch. 0: no limit."""
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if not dash and len(parts) < 3:  # minutes, or minutes:seconds
        parts = [0, *parts]
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


class SlurmConfig(PlaceConfig[SlurmProfile]):
    """configs/slurm.yaml."""


def read_config(root: Path) -> SlurmConfig:
    """configs/slurm.yaml of the workspace `root`; ParamsError when it is missing or malformed."""
    return read_place(root, SLURM_FILE, SlurmConfig)
