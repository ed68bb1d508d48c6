"""The kinds of remotes: how the URL of each looks, and which package DVC needs for it."""

import importlib.util
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from capillary.remote.kind import Kind
from stages.common.errors import CapillaryError, UsageError
from stages.common.text import without_login


@dataclass(frozen=True, kw_only=True)
class Package:
    """What DVC needs for a kind. `extra` is ours that installs it; empty if the base has it."""

    name: str
    module: str
    extra: str


_S3 = Package(name="dvc-s3", module="dvc_s3", extra="")
PACKAGES = {
    Kind.DAGSHUB: _S3,
    Kind.S3: _S3,
    Kind.SSH: Package(name="dvc-ssh", module="dvc_ssh", extra="ssh"),
    Kind.GS: Package(name="dvc-gs", module="dvc_gs", extra="mlops"),
}
EXAMPLES = {
    Kind.DAGSHUB: "https://dagshub.com/<user>/<repository>",
    Kind.S3: "s3://bucket/folder",
    Kind.SSH: "ssh://host/absolute/folder",
    Kind.GS: "gs://bucket/folder",
    Kind.FOLDER: "/mnt/lab/dvc",
}
_ENDPOINT = "https://s3.example.org"
_SCHEMES = {Kind.DAGSHUB: ("https", "http"), Kind.S3: ("s3",), Kind.SSH: ("ssh",), Kind.GS: ("gs",)}
_REPOSITORY = re.compile(r"/[^/\s]+/[^/\s]+")


def refuse_missing_package(kind: Kind) -> None:
    """Raise CapillaryError (usage) with the pip command that helps."""
    package = PACKAGES.get(kind)
    if package is None or importlib.util.find_spec(package.module) is not None:
        return
    ours = f", or ./just setup {package.extra}" if package.extra else ""
    raise UsageError(
        f"a remote of kind {kind} needs the package {package.name}, which is not installed",
        remedy=f".venv/bin/pip install -c constraints.txt {package.name}{ours}",
    )


def checked_url(kind: Kind, url: str) -> str:
    """`url` without what people copy along with it (.git, .mlflow, a final slash); CapillaryError for another form."""
    url = url.strip().rstrip("/")
    if kind is Kind.FOLDER:
        return _folder(url)
    if without_login(url) != url and (kind is not Kind.SSH or ":" in urlsplit(url).netloc.rpartition("@")[0]):
        raise _refused(kind, "holds a login, which would be committed to Git", without_login(url))
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES[kind] or not parts.hostname:
        raise _refused(kind, f"is not the address of a remote of kind {kind}", url)
    if kind is not Kind.DAGSHUB:
        return url
    for ending in (".git", ".mlflow", ".s3", ".dvc"):
        url = url.removesuffix(ending)
    if not _REPOSITORY.fullmatch(urlsplit(url).path):
        raise _refused(kind, "does not name a repository", url)
    return url


def checked_endpoint(url: str) -> str:
    """`url`, the address of an S3 server or empty; CapillaryError (usage) for another form, or with a login."""
    url = url.strip()
    if not url:
        return ""
    remedy = f"write it like {_ENDPOINT}"
    if without_login(url) != url:
        raise UsageError(
            "the endpoint holds a login, which would be committed to Git", value=without_login(url), remedy=remedy
        )
    if urlsplit(url).scheme not in ("https", "http") or not urlsplit(url).hostname:
        raise UsageError("the endpoint is not the address of a server", value=url, remedy=remedy)
    return url


def _folder(url: str) -> str:
    if not url or "://" in url:
        raise _refused(Kind.FOLDER, "is not a folder", url)
    return url


def _refused(kind: Kind, what: str, url: str) -> CapillaryError:
    return UsageError(f"the URL of the remote {what}", value=url, remedy=f"write it like {EXAMPLES[kind]}")
