"""A round trip through a remote, by the file system that DVC itself will use: put, get, compare, remove."""

import secrets
from collections.abc import Mapping
from typing import Any

from capillary.remote.plans import RemotePlan
from stages.common.errors import ServiceError
from stages.common.text import visible
from stages.common.tracking.address import without_login

PROBE = "capillary-probe-"
_TIMEOUT_S = 10
_MOST_SHOWN = 300
# by the words of the libraries, since each has errors of its own; the first that fits
_CAUSES = (
    (("InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden", "Unauthorized", "401", "403", "AccessDenied",
      "Access Denied", "PermissionDenied", "Permission denied", "PermissionError"),
     "refuses this login", "check user, token or keys, and that they may write there"),
    (("NoSuchBucket", "bucket does not exist", "NotFound", "404", "No such file"),
     "has no such place", "correct the URL, or create the bucket or folder first"),
    (("ExpiredToken", "expired"), "says that the login has expired", "make a new token or key"),
    (("NoCredentials", "Unable to locate credentials"), "needs a login", "give keys, or set up an AWS profile"),
    (("Could not connect", "ConnectionRefused", "timed out", "TimeoutError", "gaierror", "Name or service"),
     "does not answer", "check its URL, the network and the proxy (capillary doctor looks at them)"),
    (("Host key", "HostKeyNotVerifiable"), "has an unknown host key", "connect once by ssh, and confirm its key"),
)  # fmt: skip


def prove(plan: RemotePlan, config: Mapping[str, Any]) -> None:
    """Write a small object to the remote of `plan`, read it, compare, remove it.

    `config` is DVC's, with the remote in it. Raises ServiceError when any of it fails; nothing stays behind then but,
    at worst, that object.
    """
    options = {**config["remote"][plan.name], **_limits(plan)}
    step = "be reached"
    try:
        system, folder = _open({**config, "remote": {**config["remote"], plan.name: options}}, plan.name)
        place, content = f"{folder.rstrip('/')}/{PROBE}{secrets.token_hex(8)}", secrets.token_bytes(64)
        step = "take a file"
        system.makedirs(folder, exist_ok=True)
        system.pipe_file(place, content)
        step = "give a file back"
        found = system.cat_file(place)
        step = "remove a file"
        system.rm_file(place)
    except Exception as error:
        raise _failed(plan, step, error) from error
    if found != content:
        raise ServiceError(
            f"the remote {place_of(plan)} gives back other bytes than it was given",
            remedy="check what is between this machine and the remote; nothing was written here",
        )


def place_of(plan: RemotePlan) -> str:
    """The remote's address, for people."""
    return without_login(str(plan.public.get("endpointurl") or plan.public["url"]))


def _limits(plan: RemotePlan) -> dict[str, int]:
    """So that a server which is not there costs seconds."""
    scheme = str(plan.public["url"]).partition("://")[0]
    if scheme == "s3":
        return {"connect_timeout": _TIMEOUT_S, "read_timeout": _TIMEOUT_S}
    return {"timeout": _TIMEOUT_S} if scheme == "ssh" else {}


def _open(config: Mapping[str, Any], name: str) -> tuple[Any, str]:
    from dvc.fs import get_cloud_fs  # here: DVC takes half a second

    kind, options, folder = get_cloud_fs(config, name=name)
    return kind(**options), folder


def _failed(plan: RemotePlan, step: str, error: Exception) -> ServiceError:
    told = _told(error)
    what, remedy = next(
        ((what, remedy) for words, what, remedy in _CAUSES if any(word in told for word in words)),
        (f"does not {step}" if step != "be reached" else "cannot be reached", "check its URL and the network"),
    )
    return ServiceError(
        f"the remote {place_of(plan)} {what}; the configuration stays as it was",
        remedy=remedy,
        value=visible(_without_secrets(told, plan))[:_MOST_SHOWN],
    )


def _told(error: BaseException) -> str:
    """The names and words of `error` and its causes."""
    lines = []
    cause: BaseException | None = error
    while cause is not None:
        lines.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__ or cause.__context__
    return "; caused by ".join(lines)


def _without_secrets(text: str, plan: RemotePlan) -> str:
    for value in plan.secret.values():
        text = text.replace(value, "***")
    return without_login(text)
