"""What a crate says, read from the project: its graph as dvc.lock recorded it, its files, its people."""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from capillary.integrity.lock_file import refuse_damaged_lock
from capillary.provenance.git import Workspace, read_workspace
from capillary.yaml_file import leaves, read_yaml
from stages.common.errors import DataError

CODE = ("stages", "configs")
# folders whose files are results to read; the others are data, which a crate names by hash
RESULTS = ("metrics", "models", "reports")
MOST_FILE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Item:
    """A dep or an out as dvc.lock has it. `hash` is DVC's, with the name of its kind; sizes where DVC counts them."""

    path: str
    hash_name: str
    hash: str
    bytes: int | None
    files: int | None


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """One entry of dvc.lock: `address` is train@dice_ce-0, `tool` is train. Code is not among `deps`."""

    address: str
    command: str
    deps: tuple[Item, ...]
    outs: tuple[Item, ...]
    params: Mapping[str, Any]

    @property
    def tool(self) -> str:
        """The stage that ran."""
        return self.address.partition("@")[0]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`files` are results in the workspace, relative to it. `author` is Git's user.name, None if it has none."""

    stages: tuple[StageFacts, ...]
    files: tuple[str, ...]
    params: Mapping[str, Any]
    workspace: Workspace | None
    author: str | None


def read_facts(root: Path) -> Facts:
    """What the project `root` holds. Raises CapillaryError if nothing has run, or dvc.lock is damaged."""
    refuse_damaged_lock(root)
    lock = root / "dvc.lock"
    recorded = (read_yaml(lock).get("stages") or {}) if lock.is_file() else {}
    if not recorded:
        raise DataError("there are no results to export: dvc.lock records no run", remedy="run dvc repro", file=lock)
    return Facts(
        stages=tuple(_stage(address, entry) for address, entry in recorded.items()),
        files=tuple(_results(root)),
        params=dict(leaves(read_yaml(root / "params.yaml"))),
        workspace=read_workspace(root),
        author=_author(root),
    )


def _stage(address: str, entry: Mapping[str, Any]) -> StageFacts:
    command = entry.get("cmd", "")
    params = (entry.get("params") or {}).get("params.yaml") or {}
    deps = tuple(_item(dep) for dep in entry.get("deps", []) if PurePosixPath(dep["path"]).parts[0] not in CODE)
    outs = tuple(_item(out) for out in entry.get("outs", []))
    text = " && ".join(command) if isinstance(command, list) else str(command)
    return StageFacts(address=address, command=text, deps=deps, outs=outs, params=dict(leaves(params)))


def _item(entry: Mapping[str, Any]) -> Item:
    name = next((each for each in ("md5", "etag", "checksum") if each in entry), "")
    return Item(
        path=str(entry["path"]),
        hash_name=name,
        hash=str(entry.get(name, "")),
        bytes=entry.get("size"),
        files=entry.get("nfiles"),
    )


def _results(root: Path) -> Iterator[str]:
    """Plain files of a size to send; what a link leads to is not this project's to give away."""
    for folder in RESULTS:
        for file in sorted((root / folder).rglob("*")):
            inner = file.relative_to(root)
            if _is_shown(inner) and _is_plain(file) and file.stat().st_size <= MOST_FILE_BYTES:
                yield inner.as_posix()


def _is_shown(path: Path) -> bool:
    return path.name != "README.md" and not any(part.startswith(".") for part in path.parts)


def _is_plain(file: Path) -> bool:
    # DVC itself may have made the file a link into its cache
    return file.is_file() and (not file.is_symlink() or ".dvc" in file.resolve().parts)


def _author(root: Path) -> str | None:
    done = subprocess.run(["git", "config", "user.name"], cwd=root, check=False, capture_output=True, text=True)
    return done.stdout.strip() or None
