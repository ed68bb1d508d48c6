"""A remote as a value: what goes to .dvc/config, what to .dvc/config.local, what to .env."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from capillary.remote.kind import Kind
from stages.common.tracking.address import VARIABLE


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the user said, by flags, variables or on the terminal. Empty: there is none. `secret` and `key_id` are a
    token or a pair of keys, `credentials` the path of a key file.
    """

    kind: Kind
    url: str
    name: str
    default: bool
    user: str = ""
    endpoint: str = ""
    key_id: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    session: str = field(default="", repr=False)
    credentials: str = ""
    mlflow: bool = False


@dataclass(frozen=True, kw_only=True)
class RemotePlan:
    """What is to be written. `public` may be committed; `secret` and `variables` may not."""

    name: str
    public: Mapping[str, str]
    secret: Mapping[str, str] = field(repr=False)
    default: bool
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)


def plan_remote(answers: Answers, root: Path) -> RemotePlan:
    """The plan of `answers` for the project in `root`."""
    public, secret = _options(answers, root)
    return RemotePlan(
        name=answers.name,
        public=public,
        secret={name: value for name, value in secret.items() if value},
        default=answers.default,
        variables=_mlflow(answers) if answers.mlflow else {},
    )


def _options(answers: Answers, root: Path) -> tuple[dict[str, str], dict[str, str]]:
    url = answers.url
    if answers.kind is Kind.DAGSHUB:
        keys = {"access_key_id": answers.secret, "secret_access_key": answers.secret}
        return {"url": "s3://dvc", "endpointurl": f"{url}.s3"}, keys
    if answers.kind is Kind.S3:
        endpoint = {"endpointurl": answers.endpoint} if answers.endpoint else {}
        keys = {"access_key_id": answers.key_id, "secret_access_key": answers.secret, "session_token": answers.session}
        return {"url": url, **endpoint}, keys
    if answers.kind is Kind.SSH:
        return {"url": url, **({"user": answers.user} if answers.user else {})}, {"password": answers.secret}
    if answers.kind is Kind.GS:
        return {"url": url}, {"credentialpath": answers.credentials}
    return {"url": folder_url(url, root)}, {}


def folder_url(folder: str, root: Path) -> str:
    """`folder` as .dvc/config has it: absolute, or relative to .dvc where the user named it relative to `root`."""
    path = Path(folder).expanduser()
    return str(path) if path.is_absolute() else os.path.relpath(root / path, root / ".dvc")


def _mlflow(answers: Answers) -> dict[str, str]:
    """DagsHub's tracking server has the repository's address, and the token as password."""
    return {
        VARIABLE: f"{answers.url}.mlflow",
        "MLFLOW_TRACKING_USERNAME": answers.user or owner_of(answers.url),
        "MLFLOW_TRACKING_PASSWORD": answers.secret,
    }


def owner_of(url: str) -> str:
    """`alice` of https://dagshub.com/alice/vessels."""
    return urlsplit(url).path.strip("/").partition("/")[0]
