"""The servers that ingest reads from: which library speaks to each, how it fails, and what helps.

Classes are named, not imported: only the library of the scheme in use is loaded, and two of them are optional.
"""

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fsspec
from fsspec import AbstractFileSystem

from stages.common.errors import MachineError

CONNECT_TIMEOUT_S = 15
READ_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Service:
    """One URL scheme. `failures`, `refusals` and `transient` are dotted names of exception classes."""

    scheme: str
    package: str  # distribution that brings the file system
    login: str  # what to do when the server refuses
    failures: tuple[str, ...]
    refusals: tuple[str, ...] = ()
    transient: tuple[str, ...] = ()  # worth another try; empty if the library tries again itself
    options: Mapping[str, Any] = field(default_factory=dict)

    def open(self) -> AbstractFileSystem:
        """fsspec's file system; raises CapillaryError when its package is not installed."""
        # the libraries log what they then raise; a user sees the raised one
        logging.getLogger(self.package).addHandler(logging.NullHandler())
        try:
            return fsspec.filesystem(self.scheme, **self.options, **_timeouts(self.scheme))
        except ImportError as error:
            raise MachineError(
                f"{self.scheme}:// needs the package {self.package}, which is not installed",
                remedy="install it with ./just setup mlops; "
                f"for the container add `{self.package}` to stages/ingest/requirements.txt",
                value=f"{self.scheme}://",
            ) from error


def classes(names: tuple[str, ...]) -> tuple[type[Exception], ...]:
    """The exception classes with these dotted names."""
    found = (name.rpartition(".") for name in names)
    return tuple(getattr(importlib.import_module(module), name) for module, _, name in found)


def _timeouts(scheme: str) -> dict[str, Any]:
    if scheme == "s3":
        timeouts = {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S}
        return {"config_kwargs": {**timeouts, "retries": {"max_attempts": 3}}}
    if scheme in HTTP:
        timeout = importlib.import_module("aiohttp").ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S
        )
        return {"client_kwargs": {"timeout": timeout, "trust_env": True}}
    return {}


def _http(scheme: str) -> Service:
    return Service(
        scheme=scheme,
        package="aiohttp",
        login="download the data by hand and name the local folder, or use a URL that needs no login",
        failures=("aiohttp.ClientError",),
        transient=("aiohttp.ClientConnectionError", "aiohttp.ClientPayloadError", "asyncio.TimeoutError"),
    )


HTTP = ("http", "https")
SERVICES = {
    "s3": Service(
        scheme="s3",
        package="s3fs",
        login="set SOURCE_AWS_ACCESS_KEY_ID and SOURCE_AWS_SECRET_ACCESS_KEY in .env (and "
        "SOURCE_AWS_ENDPOINT_URL if the server is not AWS); on a machine or task of AWS, let its role read the bucket "
        "(docs/ecs.md: SourceBucket)",
        failures=("botocore.exceptions.BotoCoreError", "botocore.exceptions.ClientError", "aiohttp.ClientError"),
        refusals=("botocore.exceptions.NoCredentialsError", "botocore.exceptions.PartialCredentialsError"),
    ),
    "gs": Service(
        scheme="gs",
        package="gcsfs",
        login="set SOURCE_GOOGLE_APPLICATION_CREDENTIALS in .env to the file with your service account's key",
        failures=(
            "gcsfs.retry.HttpError",
            "aiohttp.ClientError",
            "google.auth.exceptions.GoogleAuthError",
            "requests.exceptions.RequestException",
        ),
        refusals=("google.auth.exceptions.DefaultCredentialsError", "google.auth.exceptions.RefreshError"),
    ),
    **{scheme: _http(scheme) for scheme in HTTP},
}
