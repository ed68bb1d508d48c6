"""Settings of the tool on this machine, from the environment and .env. The one place that reads either."""

import fnmatch
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

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


class ExecutorName(StrEnum):
    """How stages run: CAPILLARY_EXECUTOR."""

    AUTO = "auto"
    DOCKER = "docker"
    PROCESS = "process"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How this machine runs stages. None of it may change a result."""

    executor: ExecutorName
    workers: int
    threads: int
    grace_s: float
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
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Settings(
        executor=_read_executor(variables.get("CAPILLARY_EXECUTOR", "auto")),
        workers=_read_count(variables, "CAPILLARY_WORKERS", cores),
        threads=_read_count(variables, "CAPILLARY_THREADS", cores),
        grace_s=float(_read_count(variables, "CAPILLARY_GRACE_S", 10)),
        variables=variables,
    )


def _read_executor(value: str) -> ExecutorName:
    names = [name.value for name in ExecutorName]
    if value not in names:
        raise CapillaryError(
            f"CAPILLARY_EXECUTOR names no executor; {nearest(value, names)}",
            value=value,
            remedy="set CAPILLARY_EXECUTOR to auto, docker or process, or unset it",
            code=ExitCode.USAGE,
        )
    return ExecutorName(value)


def _read_count(variables: Mapping[str, str], name: str, default: int) -> int:
    value = variables.get(name, str(default))
    if not value.isdecimal() or int(value) < 1:
        raise CapillaryError(
            f"{name} is not a number of 1 or more",
            value=value,
            remedy=f"set {name} to a whole number, or unset it",
            code=ExitCode.USAGE,
        )
    return int(value)
