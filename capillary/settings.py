"""Settings of the tool on this machine, from the environment and .env. The one place that reads either."""

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from dotenv import dotenv_values

from stages.common.errors import CapillaryError, ExitCode
from stages.common.params import nearest

# what a process needs to start, to speak the user's language and to verify certificates; never a secret
BASE_VARIABLES = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LD_LIBRARY_PATH",
    "LANG",
    "LC_*",
    "TZ",
    "TERM",
    "COLUMNS",
    "NO_COLOR",
    "SSL_CERT_*",
    "REQUESTS_CA_BUNDLE",
)


OFF = "off"
TORCH_BUILD = re.compile(r"cu\d{3}")  # as wheels call it: cu126 is CUDA 12.6


class ExecutorName(StrEnum):
    """How stages run: CAPILLARY_EXECUTOR."""

    AUTO = "auto"
    DOCKER = "docker"
    PROCESS = "process"


class TorchName(StrEnum):
    """Which build of torch images hold: CAPILLARY_TORCH, where cu126 and the like are further values.

    `auto` takes the newest with CUDA that the driver runs where containers can have a GPU.
    """

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class YesNo(StrEnum):
    """A switch that is off by default: CAPILLARY_SHARE_GPUS, CAPILLARY_REQUIRE_GPU."""

    NO = "no"
    YES = "yes"


class YesUnlessNo(StrEnum):
    """A switch that is on by default: CAPILLARY_RESUME."""

    YES = "yes"
    NO = "no"


Name = TypeVar("Name", bound=StrEnum)


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What stage images are built from.

    `torch_index` is a further package index that has torch, or empty; `torch_indexes` are those of single builds, by
    name (`cpu`, `cu126`). `torch_build` is the build with CUDA that CAPILLARY_TORCH names, None where it names none.
    """

    base: str
    torch: TorchName
    torch_index: str
    client_environment: Mapping[str, str]
    torch_indexes: Mapping[str, str] = field(default_factory=dict)
    torch_build: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How this machine runs stages. None of it may change a result.

    `monitor_interval_s` lies between two samples of the load, None: none are taken.
    `resume` False makes every training start from its beginning; `checkpoint_dir` keeps what they resume from.
    `gpus` names the GPUs that stages may have (empty: all), `share_gpus` lets parallel stages have the same ones,
    `require_gpu` lets no training start without one.
    `profile` is a name in configs/compute.yaml, or auto; `processes`, `workers`, `threads` and `micro_batch` win over
    the profile's where they are set. `memory_abort_gb` is where the guard stops a training, None: nowhere.
    `side_by_side` is how many stages run at once, which an experiment tells those that it starts.
    """

    executor: ExecutorName
    images: ImageSettings
    gpus: str
    share_gpus: bool
    require_gpu: bool
    profile: str
    processes: int | None
    workers: int | None
    threads: int | None
    micro_batch: int | None
    memory_abort_gb: float | None
    side_by_side: int
    monitor_interval_s: float | None
    grace_s: float
    resume: bool
    checkpoint_dir: str
    variables: Mapping[str, str]

    def select(self, patterns: Iterable[str]) -> dict[str, str]:
        """The variables whose names match one of `patterns`."""
        names = list(patterns)
        return {
            name: value
            for name, value in sorted(self.variables.items())
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in names)
        }


def read_settings(repository: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings for `repository`; a variable in the environment wins over the same in .env, an empty one is unset.

    Raises CapillaryError (usage) for an executor or number that cannot be read.
    """
    merged = {**dotenv_values(repository / ".env"), **(os.environ if environment is None else environment)}
    variables = {name: value for name, value in merged.items() if value}
    torch = variables.get("CAPILLARY_TORCH", "")
    torch_build = torch if TORCH_BUILD.fullmatch(torch) else None
    return Settings(
        executor=_read_name(ExecutorName, variables, "CAPILLARY_EXECUTOR"),
        images=ImageSettings(
            base=variables.get("CAPILLARY_BASE_IMAGE", "python:3.11-slim-bookworm"),
            torch=TorchName.CUDA if torch_build else _read_name(TorchName, variables, "CAPILLARY_TORCH"),
            torch_index=variables.get("CAPILLARY_TORCH_INDEX", ""),
            client_environment=variables,
            torch_indexes=_read_torch_indexes(variables),
            torch_build=torch_build,
        ),
        gpus=variables.get("CAPILLARY_GPUS", ""),
        share_gpus=_read_name(YesNo, variables, "CAPILLARY_SHARE_GPUS") is YesNo.YES,
        require_gpu=_read_name(YesNo, variables, "CAPILLARY_REQUIRE_GPU") is YesNo.YES,
        profile=variables.get("CAPILLARY_PROFILE", "auto"),
        processes=_read_count(variables, "CAPILLARY_PROCESSES"),
        workers=_read_count(variables, "CAPILLARY_WORKERS"),
        threads=_read_count(variables, "CAPILLARY_THREADS"),
        micro_batch=_read_count(variables, "CAPILLARY_MICRO_BATCH"),
        side_by_side=_read_count(variables, "CAPILLARY_SIDE_BY_SIDE") or 1,
        memory_abort_gb=_read_amount(variables, "CAPILLARY_MEMORY_ABORT_GB"),
        monitor_interval_s=_read_interval(variables, "CAPILLARY_MONITOR_INTERVAL_S"),
        grace_s=float(_read_count(variables, "CAPILLARY_GRACE_S") or 10),
        resume=_read_name(YesUnlessNo, variables, "CAPILLARY_RESUME") is YesUnlessNo.YES,
        checkpoint_dir=variables.get("CAPILLARY_CHECKPOINT_DIR", ".capillary/state"),
        variables=variables,
    )


def _read_torch_indexes(variables: Mapping[str, str]) -> dict[str, str]:
    """CAPILLARY_TORCH_INDEX_CU126 and its like: the package index of each build of torch, by name."""
    indexes = {}
    for variable, url in sorted(variables.items()):
        name = variable.removeprefix("CAPILLARY_TORCH_INDEX_").lower()
        if not variable.startswith("CAPILLARY_TORCH_INDEX_"):
            continue
        if name != "cpu" and not TORCH_BUILD.fullmatch(name):
            raise CapillaryError(
                f"{variable} names no build of torch",
                remedy="name it CAPILLARY_TORCH_INDEX_CU126 (its CUDA is 12.6), …_CU130 and so on, or …_CPU",
                code=ExitCode.USAGE,
            )
        indexes[name] = url
    return indexes


def _read_name(kind: type[Name], variables: Mapping[str, str], name: str) -> Name:
    """The value of the variable `name`, one of those of `kind`; the first when it is unset."""
    names = [each.value for each in kind]
    value = variables.get(name, names[0])
    if value not in names:
        raise CapillaryError(
            f"{name} is none of its values; {nearest(value, names)}",
            value=value,
            remedy=f"set {name} to one of {', '.join(names)}, or unset it",
            code=ExitCode.USAGE,
        )
    return kind(value)


def _read_count(variables: Mapping[str, str], name: str) -> int | None:
    """A whole number of 1 or more; None when it is unset or auto."""
    value = variables.get(name, "auto")
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise CapillaryError(
            f"{name} is not a number of 1 or more",
            value=value,
            remedy=f"set {name} to a whole number, or unset it",
            code=ExitCode.USAGE,
        )
    return int(value)


def _read_interval(variables: Mapping[str, str], name: str) -> float | None:
    """A number above 0, ten by default; None when it is off."""
    return None if variables.get(name) == OFF else _read_amount(variables, name) or 10.0


def _read_amount(variables: Mapping[str, str], name: str) -> float | None:
    """A number above 0, such as 0.5; None when it is unset."""
    value = variables.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"\d+(\.\d+)?", value) or float(value) == 0:
        raise CapillaryError(
            f"{name} is not a number above 0",
            value=value,
            remedy=f"set {name} to a number such as 2 or 0.5, or unset it",
            code=ExitCode.USAGE,
        )
    return float(value)
