"""The files of a data set at one commit, as the Hub lists them: a list that is checked before it is used."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.common.errors import DataError
from stages.ingest.sources.archives.limits import MAX_TOTAL_BYTES
from stages.ingest.sources.archives.members import BadMemberError, safe_name

_HASHES = {"sha256": re.compile(r"[0-9a-f]{64}"), "git": re.compile(r"[0-9a-f]{40}")}
ENTRY_KEYS = ("type", "path", "size", "oid", "lfs")  # of an entry, what is read here
_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One file. `path` is that in the data set, `digest` of its content: SHA-256 for large files, Git's for others."""

    path: str
    size: int
    kind: Literal["sha256", "git"]
    digest: str

    def digest_of(self, file: Path) -> str:
        """The digest of the content of `file`, of the same kind."""
        hasher = hashlib.sha256() if self.kind == "sha256" else hashlib.sha1(usedforsecurity=False)
        if self.kind == "git":
            hasher.update(f"blob {self.size}\0".encode())
        with file.open("rb") as stream:
            while piece := stream.read(_PIECE):
                hasher.update(piece)
        return hasher.hexdigest()

    def is_whole(self, file: Path) -> bool:
        """Whether `file` has the size and the digest that the Hub lists."""
        return file.is_file() and file.stat().st_size == self.size and self.digest_of(file) == self.digest


def take_entries(entries: Iterable[Mapping[str, Any]], folder: str, shown: str) -> dict[str, HubFile]:
    """The files in `folder` by their paths in it. Raises DataError for a name that leads elsewhere, or an entry that
    lacks its size or its hash.
    """
    found = {}
    above = f"{folder}/" if folder else ""
    for entry in entries:
        if entry.get("type") != "file":
            continue
        path = entry.get("path")
        try:
            if not isinstance(path, str) or safe_name(path) == "" or not path.startswith(above):
                raise BadMemberError(f"the entry {str(path)[:100]!r} is not in it")
            found[path[len(above) :]] = _file(path, entry)
        except BadMemberError as error:
            remedy = "ask the owner of the data set to rename it, or download the set and name the local folder"
            raise DataError(f"the list of {shown} is not used: {error}", remedy=remedy, file=shown) from error
    return dict(sorted(found.items()))


def _file(path: str, entry: Mapping[str, Any]) -> HubFile:
    large = entry.get("lfs")
    kind: Literal["sha256", "git"] = "sha256" if isinstance(large, Mapping) else "git"
    stated = large if isinstance(large, Mapping) else entry
    size, digest = stated.get("size"), str(stated.get("oid")).removeprefix("sha256:")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_TOTAL_BYTES:
        raise BadMemberError(f"it gives no possible size of {path}")
    if not _HASHES[kind].fullmatch(digest):
        raise BadMemberError(f"it gives no hash of {path}")
    return HubFile(path=path, size=size, kind=kind, digest=digest)


def as_entries(files: Iterable[HubFile]) -> list[dict[str, Any]]:
    """`files` as `take_entries` reads them."""
    return [
        {"type": "file", "path": each.path, "size": each.size, "oid": each.digest}
        | ({"lfs": {"size": each.size, "oid": each.digest}} if each.kind == "sha256" else {})
        for each in files
    ]
