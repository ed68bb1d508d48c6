"""Settings of the tool on this machine, from the environment and .env."""

import dataclasses
import fnmatch
import os
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

from dotenv import dotenv_values
from pydantic import BeforeValidator, ValidationInfo
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticUseDefault

from stages.common.errors import UsageError
from stages.common.params import nearest
from stages.common.program.messages import FORMATS, LEVELS, LOG_FORMAT, LOG_LEVEL, Format, Level
from stages.common.tracking.address import without_login

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


PREFIX = "CAPILLARY_"
SHARED_CACHE = f"{PREFIX}SHARED_CACHE"
OFF = "off"
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


def _refuse(name: str, what: str, value: str, remedy: str) -> NoReturn:
    raise UsageError(f"{name} {what}", value=value, remedy=f"set {name} to {remedy}")


def _variable(info: ValidationInfo) -> str:
    return f"{PREFIX}{str(info.field_name).upper()}"


def _one_of(name: str, value: str, names: Iterable[str]) -> str:
    known = list(names)
    if value not in known:
        what = f"is not one of its values; {nearest(value, known)}"
        _refuse(name, what, value, f"one of {', '.join(known)}, or unset it")
    return value


def _executor(value: object, info: ValidationInfo) -> object:
    return _one_of(_variable(info), value, list(ExecutorName)) if isinstance(value, str) else value


def _place(value: object, info: ValidationInfo) -> object:
    return _one_of(_variable(info), value, list(PlaceName)) if isinstance(value, str) else value


def _tracking(value: object, info: ValidationInfo) -> object:
    return _one_of(_variable(info), value, list(TrackingName)) if isinstance(value, str) else value


def _level(value: object, info: ValidationInfo) -> object:
    return _one_of(_variable(info), value, LEVELS) if isinstance(value, str) else value


def _format(value: object, info: ValidationInfo) -> object:
    return _one_of(_variable(info), value, FORMATS) if isinstance(value, str) else value


def _switch(value: object, info: ValidationInfo) -> object:
    """`true` and `1` are refused: they must not mean no by mistake."""
    return _one_of(_variable(info), value, ("yes", "no")) == "yes" if isinstance(value, str) else value


def _count(value: object, info: ValidationInfo) -> object:
    """A whole number of 1 or more; the default when it is auto."""
    if not isinstance(value, str):
        return value
    if value == "auto":
        raise PydanticUseDefault
    if not value.isdecimal() or int(value) < 1:
        _refuse(_variable(info), "is not a number of 1 or more", value, "a whole number, or unset it")
    return int(value)


def _amount(value: object, info: ValidationInfo) -> object:
    """A number above 0, such as 0.5."""
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"\d+(\.\d+)?", value) or float(value) == 0:
        _refuse(_variable(info), "is not a number above 0", value, "a number such as 2 or 0.5, or unset it")
    return float(value)


def _interval(value: object, info: ValidationInfo) -> object:
    return None if value == OFF else _amount(value, info)


def _lineage(value: object, info: ValidationInfo) -> object:
    """file:PATH, or a server's URL."""
    if not isinstance(value, str):
        return value
    if value == OFF:
        return None
    if not re.fullmatch(r"file:\S.*|https?://\S+", value):
        name = _variable(info)
        shown = without_login(value)
        _refuse(name, "is neither a file nor a server", shown, "file:lineage.jsonl or http://host:5000, or unset it")
    return value


def _shared_cache(value: object, info: ValidationInfo) -> object:
    """The name of a remote in .dvc/config, or `default`."""
    if not isinstance(value, str):
        return value
    if value == OFF:
        return None
    if not re.fullmatch(r"[\w.-]+", value):
        remedy = "the name of one of DVC's remotes (`dvc remote list`), default or off"
        _refuse(_variable(info), "is not the name of a remote", without_login(value), remedy)
    return value


def _pushgateway(value: object, info: ValidationInfo) -> object:
    """A Pushgateway's URL."""
    if not isinstance(value, str):
        return value
    if value == OFF:
        return None
    if not re.fullmatch(r"https?://[^\s@]+", value):
        remedy = "http://localhost:9091 or the like, without a login, or unset it"
        _refuse(_variable(info), "is not a Pushgateway's URL", without_login(value), remedy)
    return value


Switch = Annotated[bool, BeforeValidator(_switch)]
Count = Annotated[int | None, BeforeValidator(_count)]
Amount = Annotated[float | None, BeforeValidator(_amount)]


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What stage images are built from.

    `torch_index` is another package index that has torch, or empty; `torch_indexes` are those of single builds, by
    name (`cpu`, `cu126`). `torch_build` is the build with CUDA that CAPILLARY_TORCH names, None if it names none.
    """

    base: str
    torch: TorchName
    torch_index: str
    client_environment: Mapping[str, str]
    torch_indexes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    torch_build: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How this machine runs stages. None of it may change a result. The variable of `grace_s` is CAPILLARY_GRACE_S.

    `monitor_interval_s` is between two samples of the load, None: none are taken.
    `tracking` says whether runs may be kept on this disk until a server takes them (docs/tracking.md).
    `resume` False makes every training start from its beginning; `checkpoint_dir` keeps what they resume from.
    `gpus` names the GPUs that stages may have (empty: all), `share_gpus` lets parallel stages have the same ones,
    `require_gpu` lets no training start without one.
    `profile` is a name in configs/compute.yaml, or auto; `processes`, `workers`, `threads` and `micro_batch` win over
    the profile's where they are set. `memory_abort_gb` is where the guard stops a training, None: nowhere.
    `place` is where stages run, `executor` how they do there.
    `side_by_side` is how many stages run at once, which an experiment tells those that it starts. So it does its
    `experiment` (the name in its file) and whether it is a `rehearsal`.
    """

    images: ImageSettings
    variables: Mapping[str, str]
    executor: Annotated[ExecutorName, BeforeValidator(_executor)] = ExecutorName.AUTO
    place: Annotated[PlaceName, BeforeValidator(_place)] = PlaceName.LOCAL
    gpus: str = ""
    share_gpus: Switch = False
    require_gpu: Switch = False
    profile: str = "auto"
    processes: Count = None
    workers: Count = None
    threads: Count = None
    micro_batch: Count = None
    memory_abort_gb: Amount = None
    side_by_side: Annotated[int, BeforeValidator(_count)] = 1
    experiment: str = ""
    rehearsal: Switch = False
    monitor_interval_s: Annotated[float | None, BeforeValidator(_interval)] = 10.0
    grace_s: Annotated[float, BeforeValidator(_count)] = 10.0
    tracking: Annotated[TrackingName, BeforeValidator(_tracking)] = TrackingName.AUTO
    resume: Switch = True
    checkpoint_dir: str = ".capillary/state"
    lineage: Annotated[str | None, BeforeValidator(_lineage)] = None  # where events of stages go (docs/lineage.md)
    log_level: Annotated[Level, BeforeValidator(_level)] = (
        "info"  # of messages while something works (docs/messages.md)
    )
    log_format: Annotated[Format, BeforeValidator(_format)] = "text"
    shared_cache: Annotated[str | None, BeforeValidator(_shared_cache)] = None  # a remote of DVC (docs/cache.md)
    pushgateway: Annotated[str | None, BeforeValidator(_pushgateway)] = None  # and their figures (docs/monitoring.md)

    @property
    def is_elsewhere(self) -> bool:
        """Whether stages may run on other machines than this one."""
        return self.place is not PlaceName.LOCAL

    def select(self, patterns: Iterable[str]) -> dict[str, str]:
        """The variables whose names match one of `patterns`."""
        names = list(patterns)
        return {
            name: value
            for name, value in sorted(self.variables.items())
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in names)
        }


# the variable of each setting → its field
SETTINGS = {
    f"{PREFIX}{field.name.upper()}": field.name
    for field in dataclasses.fields(Settings)
    if field.name not in {"images", "variables"}
}


def read_settings(repository: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings for `repository`; a variable in the environment wins over the same in .env, an empty one is unset.

    Raises CapillaryError (usage) for an executor or number that cannot be read, and for a .env in another encoding.
    """
    merged = {**_read_dotenv(repository / ".env"), **(os.environ if environment is None else environment)}
    variables = {name: value for name, value in merged.items() if value}
    told: dict[str, Any] = {field: variables[name] for name, field in SETTINGS.items() if name in variables}
    return Settings(images=_read_images(variables), variables=variables, **told)


def read_message_settings(repository: Path, environment: Mapping[str, str]) -> tuple[Level, Format]:
    """(`log_level`, `log_format`) alone, for commands that need no other setting. Raises CapillaryError (usage)."""
    merged = {**_read_dotenv(repository / ".env"), **environment}
    level, form = merged.get(LOG_LEVEL) or "info", merged.get(LOG_FORMAT) or "text"
    _one_of(LOG_LEVEL, level, LEVELS)
    _one_of(LOG_FORMAT, form, FORMATS)
    return cast(Level, level), cast(Format, form)


def _read_dotenv(file: Path) -> Mapping[str, str | None]:
    try:
        return dotenv_values(file)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file.name} is not UTF-8 text (at byte {error.start:,})",
            file=file,
            remedy="save it as UTF-8: PowerShell's > writes UTF-16, older editors a code page of their own",
        ) from None


def _read_images(variables: Mapping[str, str]) -> ImageSettings:
    torch = variables.get("CAPILLARY_TORCH", TorchName.AUTO)
    build = torch if TORCH_BUILD.fullmatch(torch) else None
    return ImageSettings(
        base=variables.get("CAPILLARY_BASE_IMAGE", "python:3.11-slim-bookworm"),
        torch=TorchName.CUDA if build else TorchName(_one_of("CAPILLARY_TORCH", torch, list(TorchName))),
        torch_index=variables.get("CAPILLARY_TORCH_INDEX", ""),
        client_environment=variables,
        torch_indexes=_read_torch_indexes(variables),
        torch_build=build,
    )


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
