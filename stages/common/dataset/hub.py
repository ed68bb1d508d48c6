"""Data sets on the Hugging Face Hub: their address, and the file that pins one to a commit.

DVC has no file system for hf:// and refuses a dvc.yaml that names one. So ingest.source names the pin file, which DVC
hashes like any other dep, and which Git keeps.
"""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from stages.common.errors import DataError

SCHEME = "hf"
PIN_SUFFIX = ".hub.json"
MAX_PIN_BYTES = 1 << 14
FORM = "hf://datasets/OWNER/NAME[@REVISION][/FOLDER]"
DEFAULT_REVISION = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PART = re.compile(r"[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
# the Hub's own branches hold a slash; in other revisions it is written %2F
_SPECIAL = re.compile(r"refs/(?:pr/\d+|convert/[\w.-]+)(?=/|$)")
_REVISION = re.compile(r"[\w.+-][\w.+/-]{0,199}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class HubAddress:
    """A folder of a data set. `revision` is a branch, a tag or a commit; `folder` is "" for the top."""

    repo: str
    revision: str = DEFAULT_REVISION
    folder: str = ""

    @property
    def names_commit(self) -> bool:
        """Whether the revision can never mean anything else."""
        return is_commit(self.revision)

    @property
    def text(self) -> str:
        """The address as people write it."""
        return self.at(self.revision)

    def at(self, revision: str) -> str:
        """The address with another revision."""
        shown = revision if _SPECIAL.fullmatch(revision) else revision.replace("/", "%2F")
        return f"{SCHEME}://datasets/{self.repo}@{shown}" + (f"/{self.folder}" if self.folder else "")


@dataclass(frozen=True, kw_only=True)
class HubPin:
    """A data set at one commit (40 hexadecimal digits)."""

    address: HubAddress
    commit: str


def is_commit(text: str) -> bool:
    """Whether `text` is the whole hash of a commit."""
    return _COMMIT.fullmatch(text) is not None


def is_pin(name: str) -> bool:
    """Whether a file called `name` pins a data set."""
    return name.lower().endswith(PIN_SUFFIX)


def parse_address(text: str) -> HubAddress:
    """The address `text`; raises ValueError that says what is wrong with it."""
    kind, _, rest = text.removeprefix(f"{SCHEME}://").partition("/")
    if kind != "datasets":
        raise ValueError("names no data set")
    owner, _, rest = rest.partition("/")
    name = re.split("[@/]", rest, maxsplit=1)[0]
    after = rest[len(name) :]
    if not (_PART.fullmatch(owner) and _PART.fullmatch(name)):
        raise ValueError("lacks the owner or the name of a data set")
    revision, folder = _revision(after) if after.startswith("@") else (DEFAULT_REVISION, after.lstrip("/"))
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise ValueError(f"names the revision {revision!r}, which is not a branch, a tag or a commit")
    parts = [part for part in folder.split("/") if part]
    if any(part in (".", "..") for part in parts) or not folder.isprintable() or "\\" in folder:
        raise ValueError(f"names the folder {folder!r}, which is not a path within the data set")
    return HubAddress(repo=f"{owner}/{name}", revision=revision, folder="/".join(parts))


def _revision(text: str) -> tuple[str, str]:
    """`@main/stacks` as the revision and the folder."""
    special = _SPECIAL.match(text[1:])
    revision = special[0] if special else text[1:].partition("/")[0]
    return unquote(revision), text[1 + len(revision) :].strip("/")


def pin_bytes(pin: HubPin) -> bytes:
    """The content of a pin file."""
    return json.dumps({"source": pin.address.text, "commit": pin.commit}, indent=2).encode() + b"\n"


def read_pin(data: bytes, shown: str) -> HubPin:
    """The pin in a file of the content `data`, which messages call `shown`. Raises DataError."""
    try:
        said: Any = json.loads(data) if len(data) <= MAX_PIN_BYTES else None
        if not isinstance(said, dict) or said.keys() != {"source", "commit"}:
            raise ValueError("it does not hold source and commit, and nothing else")
        if not is_commit(str(said["commit"])):
            raise ValueError(f"its commit {str(said['commit'])[:60]!r} is not 40 hexadecimal digits")
        address = parse_address(str(said["source"]))
        if address.names_commit and address.revision != said["commit"]:
            raise ValueError("its source names another commit than its commit")
    except (ValueError, RecursionError) as error:
        remedy = f"write it anew: capillary dataset pin {FORM} {shown}"
        raise DataError(f"{shown} does not pin a data set: {error}", remedy=remedy, file=shown) from error
    return HubPin(address=address, commit=str(said["commit"]))
