"""What is missing of a remote: from variables, else from the person at the terminal. A secret is typed without echo."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import typer

from capillary.remote.kind import Kind
from capillary.remote.kinds import EXAMPLES, checked_endpoint, checked_url
from capillary.remote.plans import Answers, owner_of
from stages.common.errors import CapillaryError, UsageError

TOKEN = "DAGSHUB_USER_TOKEN"  # noqa: S105 - the name of a variable, as DagsHub's own client reads it
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_PURPOSE, _PLAIN = "REMOTE_AWS_", "AWS_"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The flags of `capillary remote setup`; None if one was not given."""

    kind: Kind
    url: str | None = None
    user: str | None = None
    name: str | None = None
    endpoint: str | None = None
    default: bool | None = None
    mlflow: bool | None = None
    yes: bool = False


class Person(Protocol):
    """Who can be asked."""

    @property
    def is_there(self) -> bool:
        """Whether there is a terminal."""

    def ask(self, text: str, default: str = "") -> str:
        """An answer that is shown while it is typed."""

    def ask_secret(self, text: str) -> str:
        """An answer that is not."""

    def agrees(self, text: str) -> bool:
        """Yes or no."""


class Terminal:
    """The person at this program's terminal."""

    @property
    def is_there(self) -> bool:
        """Whether both ends are a terminal."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def ask(self, text: str, default: str = "") -> str:
        """An empty answer takes the default."""
        return str(typer.prompt(text, default=default, show_default=bool(default), err=True)).strip()

    def ask_secret(self, text: str) -> str:
        """Nothing of it is shown."""
        return str(typer.prompt(text, default="", show_default=False, hide_input=True, err=True)).strip()

    def agrees(self, text: str) -> bool:
        """Yes by return."""
        return typer.confirm(text, default=True, err=True)


def complete(request: Request, variables: Mapping[str, str], remotes: Sequence[str], person: Person) -> Answers:
    """`request` with everything that its kind needs. `remotes` are the names that exist.

    Raises CapillaryError (usage) for what is missing where nobody can be asked.
    """
    asked = person if person.is_there and not request.yes else None
    url = checked_url(request.kind, _url(request, asked))
    name = ("origin" if request.kind is Kind.DAGSHUB else str(request.kind)) if request.name is None else request.name
    _refuse_name(name)
    key_id, secret, session = _keys(request.kind, variables, asked)
    return Answers(
        kind=request.kind,
        url=url,
        name=name,
        default=(not remotes or name in remotes) if request.default is None else request.default,
        user=_user(request, url, asked),
        endpoint=_endpoint(request, variables),
        key_id=key_id,
        secret=secret,
        session=session,
        credentials=_first(variables, "GOOGLE_APPLICATION_CREDENTIALS") if request.kind is Kind.GS else "",
        mlflow=_wants_mlflow(request, asked),
    )


def _refuse_name(name: str) -> None:
    """DVC reads capitals as small letters, and cannot read its file if a name has a quote, a line break or %( in it."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            "this cannot be the name of a remote",
            value=name,
            remedy="give a --name of small letters, digits and . _ -",
        )


def _url(request: Request, person: Person | None) -> str:
    if request.url is not None:
        return request.url
    if person is None:
        raise _missing("the remote's URL", "--url", EXAMPLES[request.kind])
    return person.ask(f"URL, such as {EXAMPLES[request.kind]}")


def _endpoint(request: Request, variables: Mapping[str, str]) -> str:
    if request.kind is not Kind.S3:
        return ""
    return checked_endpoint(request.endpoint or _first(variables, "REMOTE_AWS_ENDPOINT_URL"))


def _user(request: Request, url: str, person: Person | None) -> str:
    if request.user is not None or request.kind not in (Kind.DAGSHUB, Kind.SSH) or person is None:
        return request.user or (owner_of(url) if request.kind is Kind.DAGSHUB else "")
    if request.kind is Kind.DAGSHUB:
        return person.ask("your user name there", owner_of(url))
    return person.ask("user on that host (empty: from ~/.ssh/config)")


def _keys(kind: Kind, variables: Mapping[str, str], person: Person | None) -> tuple[str, str, str]:
    """(key id, secret, session token); empty if DVC is to find them itself."""
    if kind is Kind.DAGSHUB:
        token = variables.get(TOKEN) or (person.ask_secret("token (Settings → Tokens)") if person else "")
        if not token:
            raise _missing("the token", TOKEN, "the variable, in the environment")
        return "", token, ""
    if kind is Kind.SSH:
        password = variables.get("REMOTE_SSH_PASSWORD", "")
        return "", password or (person.ask_secret("password (empty: your SSH key)") if person else ""), ""
    return _aws_keys(variables, person) if kind is Kind.S3 else ("", "", "")


def _aws_keys(variables: Mapping[str, str], person: Person | None) -> tuple[str, str, str]:
    """Of one purpose alone: a key id and a secret may be two people's."""
    for start in (_PURPOSE, _PLAIN):
        if key_id := variables.get(f"{start}ACCESS_KEY_ID"):
            secret = variables.get(f"{start}SECRET_ACCESS_KEY", "")
            return key_id, secret, variables.get(f"{start}SESSION_TOKEN", "")
    if person is None or not (key_id := person.ask("access key id (empty: from the AWS profile or role)")):
        return "", "", ""
    return key_id, person.ask_secret("secret access key"), ""


def _wants_mlflow(request: Request, person: Person | None) -> bool:
    if request.kind is not Kind.DAGSHUB:
        return False
    if request.mlflow is None:
        return person is not None and person.agrees("Keep runs and models there too (MLFLOW_TRACKING_* in .env)?")
    return request.mlflow


def _first(variables: Mapping[str, str], *names: str) -> str:
    return next((variables[name] for name in names if variables.get(name)), "")


def _missing(what: str, how: str, example: str) -> CapillaryError:
    place = os.path.basename(sys.argv[0]) or "capillary"  # noqa: PTH119 - a name, not a path
    return UsageError(
        f"{what} is missing, and there is no terminal to ask for it",
        remedy=f"give {how} ({example}), or run {place} remote setup in a terminal",
    )
