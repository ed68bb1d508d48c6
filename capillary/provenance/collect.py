"""The host's half of a run's provenance: a value, and the files that go with it."""

import hashlib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from capillary.integrity.lock_file import LOCK_FILE, read_lock, recorded_stages
from capillary.provenance.git import Changes, Workspace, read_changes, read_workspace
from capillary.provenance.masking import mask
from capillary.yaml_file import read_yaml
from stages.common.params import PARAMS_FILE
from stages.common.runtime import Provenance, SourceData

DIFF = "changes.diff"
MOST_NAMES = 100
DiffState = Literal["none", "whole", "masked", "incomplete", "too large"]


@dataclass(frozen=True, kw_only=True)
class Collected:
    """`value` has no folder yet; `files` is the content of each file by name."""

    value: Provenance
    files: Mapping[str, bytes]


def collect(root: Path, data: Mapping[str, str], environment: Sequence[str], secrets: Iterable[str]) -> Collected:
    """What Git and DVC know of the workspace `root`. `data` are DVC's hashes, `environment` the packages' identity."""
    known = tuple(secrets)
    workspace = read_workspace(root)
    changes = Changes(diff=b"") if workspace is None else read_changes(root, workspace)
    diff = None if changes.diff is None else mask(changes.diff, known)
    whole = _whole(root)
    kept = {name: mask(content, known) for name, content in whole.items()}
    value = Provenance(
        **_of_git(workspace),
        diff=_state(changes, diff),
        diff_bytes=len(diff or b""),
        diff_sha256=hashlib.sha256(diff).hexdigest() if diff else None,
        source=read_source(root, whole.get(LOCK_FILE, b"")),
        data=dict(data),
        environment=tuple(environment),
        tools=tool_versions(root),
    )
    return Collected(value=value, files={**kept, **({DIFF: diff} if diff else {})})


def _of_git(workspace: Workspace | None) -> dict[str, Any]:
    if workspace is None:
        return {}
    return {
        "commit": workspace.commit,
        "remote": workspace.remote,
        "prefix": workspace.prefix,
        "changed": tuple(_shown(name) for name in workspace.changed[:MOST_NAMES]),
        "changed_count": len(workspace.changed),
    }


def _shown(name: str) -> str:
    return name.encode("utf-8", "replace").decode("utf-8")


def _state(changes: Changes, diff: bytes | None) -> DiffState:
    if diff is None:
        return "too large"
    if changes.left_out:
        return "incomplete"
    if diff != changes.diff:
        return "masked"
    return "whole" if diff else "none"


def _whole(root: Path) -> dict[str, bytes]:
    """Files that are kept as they are."""
    params = root / PARAMS_FILE
    files = {str(PARAMS_FILE): params.read_bytes() if params.is_file() else b"", LOCK_FILE: read_lock(root)}
    return {name: content for name, content in files.items() if content}


def tool_versions(root: Path) -> dict[str, str]:
    """Versions of what runs stages in the project `root`. In a checkout of capillary the checkout is what runs."""
    return {"capillary": _checkout_version(root) or _installed("capillary"), "dvc": _installed("dvc")}


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"  # in the dvc-runner capillary is a folder on the path


def _checkout_version(root: Path) -> str | None:
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (FileNotFoundError, KeyError, ValueError):
        return None  # somebody's own project, whose file may be anything
    return str(project["version"]) if isinstance(project, dict) and project.get("name") == "capillary" else None


def read_source(root: Path, lock: bytes) -> SourceData | None:
    """What ingest read, by the record in `lock`; None if there is none."""
    section = read_yaml(root / PARAMS_FILE).get("ingest") if (root / PARAMS_FILE).is_file() else None
    path = section.get("source") if isinstance(section, dict) else None
    deps = (recorded_stages(lock).get("ingest") or {}).get("deps") or []
    found = next((dep for dep in deps if dep.get("path") == path), None)
    return None if found is None else _source(found)


def _source(dep: Mapping[str, Any]) -> SourceData | None:
    names = ("md5", "etag", "checksum")
    name = next((each for each in names if each in dep), None)
    if name is None:
        return None
    path = mask(str(dep["path"]).encode(), ()).decode()
    return SourceData(path=path, hash_name=name, hash=str(dep[name]), bytes=dep.get("size"), files=dep.get("nfiles"))


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Leave `files` in `folder`, each as a whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        new = folder / f".{name}.{os.getpid()}"
        new.write_bytes(content)
        new.replace(folder / name)
