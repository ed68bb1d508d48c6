"""A round trip through a remote, by the file system that DVC itself will use: put, get, compare, remove."""

import contextlib
import secrets
from collections.abc import Mapping
from typing import Any

from capillary.secret_names import DVC_SECRETS
from stages.common.errors import ServiceError
from stages.common.text import visible, without_login

PROBE = "capillary-probe-"
_MOST_SHOWN = 300
_REFUSALS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden", "Unauthorized", "401", "403", "AccessDenied",
             "Access Denied", "PermissionDenied", "Permission denied", "PermissionError")  # fmt: skip
# by the words of the libraries, since each has its own errors; the first that fits
_CAUSES = (
    (("ExpiredToken", "expired"), "says that the login has expired", "make a new token or key"),
    (_REFUSALS, "refuses this login", "check user, token or keys"),
    (("NoSuchBucket", "bucket does not exist", "NotFound", "404", "No such file"),
     "has no such place", "correct the URL, or create the bucket or folder first"),
    (("NoCredentials", "Unable to locate credentials"), "needs a login",
     "set up an AWS profile, or run capillary remote setup s3 with REMOTE_AWS_ACCESS_KEY_ID and ..._SECRET_ACCESS_KEY"),
    (("Could not connect", "ConnectionRefused", "timed out", "TimeoutError", "gaierror", "Name or service"),
     "does not answer", "check its URL, the network and the proxy"),
    (("Host key", "HostKeyNotVerifiable"), "has an unknown host key", "connect once by ssh, and confirm its key"),
)  # fmt: skip


class ReadOnlyError(ServiceError):
    """The remote shows its files to this login, and takes none from it."""


def prove(name: str, config: Mapping[str, Any], timeout_s: int = 10) -> None:
    """Write a small object to the remote `name` of DVC's `config`, read it, compare, remove it.

    Raises ServiceError when any of it fails; at worst that object stays behind.
    """
    from capillary.dvc.config import open_remote  # here: DVC takes half a second

    options = config["remote"][name]
    limited = {**options, **_limits(str(options["url"]), timeout_s)}
    step = "be reached"
    system, folder = None, ""
    try:
        system, folder = open_remote({**config, "remote": {**config["remote"], name: limited}}, name)
        place, content = f"{folder.rstrip('/')}/{PROBE}{secrets.token_hex(8)}", secrets.token_bytes(64)
        step = "take a file"
        system.makedirs(folder, exist_ok=True)
        system.pipe_file(place, content)
        step = "give a file back"
        found = system.cat_file(place)
        step = "remove a file"
        system.rm_file(place)
    except Exception as error:  # each kind of remote has errors of its own
        reads = step == "take a file" and _reads(system, folder)
        raise _failed(options, step, error, reads=reads) from error
    if found != content:
        raise ServiceError(
            f"the remote {place_of(options)} returns other bytes than it was given",
            remedy="check proxies and caches between this machine and the remote",
        )


def place_of(options: Mapping[str, Any]) -> str:
    """The remote's address, for people."""
    return without_login(str(options.get("endpointurl") or options["url"]))


def _limits(url: str, timeout_s: int) -> dict[str, int]:
    """So that a server which is not there costs seconds."""
    scheme = url.partition("://")[0]
    if scheme == "s3":
        return {"connect_timeout": timeout_s, "read_timeout": timeout_s}
    return {"timeout": timeout_s} if scheme == "ssh" else {}


def _reads(system: Any, folder: str) -> bool:
    # the refusal to write is what is reported; botocore's errors are not OSErrors
    with contextlib.suppress(Exception):
        system.ls(folder)
        return True
    return False


def _failed(options: Mapping[str, Any], step: str, error: Exception, *, reads: bool) -> ServiceError:
    told = _told(error)
    shown = visible(_without_secrets(told, options))[:_MOST_SHOWN]
    if reads and any(word in told for word in _REFUSALS):
        what = f"the remote {place_of(options)} can be read with this login, but not written"
        return ReadOnlyError(what, remedy="ask its owner for write access, or use another token", value=shown)
    what, remedy = next(
        ((what, remedy) for words, what, remedy in _CAUSES if any(word in told for word in words)),
        (f"does not {step}" if step != "be reached" else "cannot be reached", "check its URL and the network"),
    )
    return ServiceError(f"the remote {place_of(options)} {what}", remedy=remedy, value=shown)


def _told(error: BaseException) -> str:
    """The names and words of `error` and its causes."""
    lines = []
    cause: BaseException | None = error
    while cause is not None:
        lines.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__ or cause.__context__
    return "; caused by ".join(lines)


def _without_secrets(text: str, options: Mapping[str, Any]) -> str:
    for name, value in options.items():
        if name in DVC_SECRETS and value:
            text = text.replace(str(value), "***")
    return without_login(text)
