"""Settings of the tool on this machine, from the environment and .env."""

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from capillary.integrity.dotenv_file import read_dotenv
from capillary.setting_values import (
    PREFIX,
    Amount,
    Count,
    Switch,
    check_count,
    check_folder,
    check_interval,
    check_lineage,
    check_pushgateway,
    check_shared_cache,
    choice,
    one_of,
    variable_in,
    variable_of,
)
from stages.common.errors import UsageError
from stages.common.lifetimes.shutdown import GRACE_S
from stages.common.program.messages import FORMATS, LEVELS, Format, Level

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


SHARED_CACHE = f"{PREFIX}SHARED_CACHE"
TORCH_BUILD = re.compile(r"cu\d{3}")  # as wheels call it: cu126 is CUDA 12.6


class ExecutorName(StrEnum):
    """How stages run: CAPILLARY_EXECUTOR."""

    AUTO = "auto"
    DOCKER = "docker"
    PODMAN = "podman"
    APPTAINER = "apptainer"
    PROCESS = "process"


class PlaceName(StrEnum):
    """Where stages run: CAPILLARY_PLACE."""

    LOCAL = "local"
    SLURM = "slurm"
    RAY = "ray"


class TrackingName(StrEnum):
    """Whether a tracking server may be missing: CAPILLARY_TRACKING."""

    AUTO = "auto"
    OFFLINE = "offline"
    REQUIRED = "required"


class TorchName(StrEnum):
    """Which build of torch images hold: CAPILLARY_TORCH, where cu126 and the like are further values.

    `auto` takes the newest with CUDA that the driver runs where containers can have a GPU.
    """

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def _torch(value: object, info: ValidationInfo) -> object:
    known = isinstance(value, str) and TORCH_BUILD.fullmatch(value)
    return value if known else one_of(variable_in(info), str(value), TorchName)


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What stage images are built from, and the engine that builds them.

    `torch_index` is another package index that has torch, or empty; `torch_indexes` are those of single builds, by
    name (`cpu`, `cu126`). `torch_build` is the build with CUDA that CAPILLARY_TORCH names, None if it names none.
    """

    base: str
    torch: TorchName
    torch_index: str = field(repr=False)  # URLs may hold a password
    client_environment: Mapping[str, str] = field(repr=False)
    torch_indexes: Mapping[str, str] = field(default_factory=dict, repr=False)
    torch_build: str | None = None
    executor: ExecutorName = ExecutorName.AUTO


class _VariablesSource(PydanticBaseSettingsSource):
    """Each setting's own variable, of those that were gathered from the environment and .env."""

    def __init__(self, settings: type[BaseSettings], variables: Mapping[str, str]) -> None:
        super().__init__(settings)
        self._variables = variables

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the base's
        """(the text or None, its key, whether it is JSON)."""
        return self._variables.get(variable_of(field_name)), field_name, False

    def __call__(self) -> dict[str, Any]:
        """The text of each setting that has a variable, by field."""
        told = {name: self._variables.get(variable_of(name)) for name in self.settings_cls.model_fields}
        return {name: text for name, text in told.items() if text is not None and name not in _GATHERED}


_GATHERED = ("variables", "torch_indexes")  # by how they begin, or all: no variable of their own
TOLD_BY_EXPERIMENTS = ("side_by_side", "experiment", "rehearsal")  # an experiment sets them for its stages


class MessageSettings(BaseSettings):
    """How messages are printed: for commands that need no other setting."""

    model_config = SettingsConfigDict(frozen=True)

    variables: Mapping[str, str] = Field(repr=False)
    log_level: Annotated[Level, choice(LEVELS)] = Field(
        default="info", description="from which level on messages are printed ([messages](../messages.md))"
    )
    log_format: Annotated[Format, choice(FORMATS)] = Field(
        default="text", description="how they are printed; `json`: one object per line"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The gathered variables alone: in them, an empty one of the environment has unset the same one of .env."""
        assert isinstance(init_settings, InitSettingsSource)
        return init_settings, _VariablesSource(settings_cls, init_settings.init_kwargs.get("variables", {}))


class Settings(MessageSettings):
    """How this machine runs stages; none of it may change a result. The variable of `grace_s` is CAPILLARY_GRACE_S.

    `variables` are all of the environment and .env: addresses, credentials and what libraries read stay there.
    """

    executor: Annotated[ExecutorName, choice(ExecutorName, ExecutorName)] = Field(
        default=ExecutorName.AUTO,
        description="how stages run; `auto`: in containers where a Docker daemon answers, else as plain processes",
    )
    place: Annotated[PlaceName, choice(PlaceName, PlaceName)] = Field(
        default=PlaceName.LOCAL, description="where stages run ([cluster](../cluster.md), [Ray](../ray.md))"
    )
    profile: str = Field(
        default="auto", description="a profile of `configs/compute.yaml`; `auto`: the one that suits this machine"
    )
    processes: Count = Field(default=None, description="how many processes share one training; default: the profile's")
    workers: Count = Field(
        default=None,
        description="how many workers cut patches or prepare volumes; default: the profile's, or all cores",
    )
    threads: Count = Field(default=None, description="threads per process; default: the profile's, or all cores")
    micro_batch: Count = Field(default=None, description="patches at a time; default: the profile's")
    memory_abort_gb: Amount = Field(
        default=None, description="GB (10⁹ bytes) of resident memory at which a training stops with a checkpoint"
    )
    monitor_interval_s: Annotated[float | None, BeforeValidator(check_interval)] = Field(
        default=10.0, description="seconds between two samples of the load; `off`: none are taken"
    )
    grace_s: Annotated[float, BeforeValidator(check_count)] = Field(
        default=GRACE_S, description="seconds that a stage gets for a last checkpoint when it is asked to stop"
    )
    tracking: Annotated[TrackingName, choice(TrackingName, TrackingName)] = Field(
        default=TrackingName.AUTO,
        description="whether a tracking server may be missing while a stage runs ([tracking](../tracking.md))",
    )
    resume: Switch = Field(default=True, description="`no`: trainings start from the beginning instead of a checkpoint")
    checkpoint_dir: Annotated[str, BeforeValidator(check_folder)] = Field(
        default=".capillary/state", description="where checkpoints are kept"
    )
    shared_cache: Annotated[str | None, BeforeValidator(check_shared_cache)] = Field(
        default=None,
        description="one of DVC's remotes, `default` or `off`: results are shared there ([cache](../cache.md))",
    )
    require_gpu: Switch = Field(default=False, description="`yes`: no training starts without a GPU")
    gpus: str = Field(
        default="", description="the GPUs that stages may have, by number or UUID, comma-separated; empty: all"
    )
    share_gpus: Switch = Field(default=False, description="`yes`: parallel stages share GPUs")
    base_image: str = Field(
        default="python:3.11-slim-bookworm", description="what images are built on ([images](../images.md))"
    )
    torch: Annotated[str, BeforeValidator(_torch)] = Field(
        default=TorchName.AUTO.value,
        description="the build of torch in images: `auto`, `cpu`, `cuda`, or one with this CUDA, such as `cu126`",
    )
    torch_index: str = Field(
        default="",
        repr=False,
        description="a package index for torch only; single builds: `CAPILLARY_TORCH_INDEX_CU126`",
    )
    torch_indexes: Mapping[str, str] = Field(default_factory=dict, repr=False)
    lineage: Annotated[str | None, BeforeValidator(check_lineage)] = Field(
        default=None,
        description="where events of stages go: `off`, `file:PATH` or a server's URL ([lineage](../lineage.md))",
    )
    pushgateway: Annotated[str | None, BeforeValidator(check_pushgateway)] = Field(
        default=None, description="the Pushgateway that stages push their figures to ([monitoring](../monitoring.md))"
    )
    side_by_side: Annotated[int, BeforeValidator(check_count)] = Field(
        default=1, description="how many stages run at once"
    )
    experiment: str = Field(default="", description="the name in the experiment's file")
    rehearsal: Switch = Field(default=False, description="whether the experiment is a rehearsal")

    @property
    def is_elsewhere(self) -> bool:
        """Whether stages may run on other machines than this one."""
        return self.place is not PlaceName.LOCAL

    @property
    def images(self) -> ImageSettings:
        """What stage images are built from."""
        build = self.torch if TORCH_BUILD.fullmatch(self.torch) else None
        return ImageSettings(
            base=self.base_image,
            torch=TorchName.CUDA if build else TorchName(self.torch),
            torch_index=self.torch_index,
            client_environment=self.variables,
            torch_indexes=self.torch_indexes,
            torch_build=build,
            executor=self.executor,
        )

    def select(self, patterns: Iterable[str]) -> dict[str, str]:
        """The variables whose names match one of `patterns`."""
        names = list(patterns)
        return {
            name: value
            for name, value in sorted(self.variables.items())
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in names)
        }


# the variable of each setting → its field
SETTINGS = {variable_of(name): name for name in Settings.model_fields if name not in _GATHERED}


def read_settings(repository: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings for `repository`; a variable in the environment wins over the same in .env, an empty one is unset.

    Raises CapillaryError (usage) for an executor or number that cannot be read, and for a .env in another encoding.
    """
    variables = _gather(repository, environment)
    return Settings(variables=variables, torch_indexes=_read_torch_indexes(variables))


def read_message_settings(repository: Path) -> MessageSettings:
    """How messages are printed, in `repository`. Raises CapillaryError (usage)."""
    return MessageSettings(variables=_gather(repository, None))


def _gather(repository: Path, environment: Mapping[str, str] | None) -> dict[str, str]:
    merged = {**read_dotenv(repository / ".env"), **(os.environ if environment is None else environment)}
    return {name: value for name, value in merged.items() if value}


def _read_torch_indexes(variables: Mapping[str, str]) -> dict[str, str]:
    """CAPILLARY_TORCH_INDEX_CU126 and its like: the package index of each build of torch, by name."""
    indexes = {}
    for variable, url in sorted(variables.items()):
        name = variable.removeprefix("CAPILLARY_TORCH_INDEX_").lower()
        if not variable.startswith("CAPILLARY_TORCH_INDEX_"):
            continue
        if name != "cpu" and not TORCH_BUILD.fullmatch(name):
            raise UsageError(
                f"{variable} names no build of torch",
                remedy="name it CAPILLARY_TORCH_INDEX_CU126 (its CUDA is 12.6), …_CU130 and so on, or …_CPU",
            )
        indexes[name] = url
    return indexes
