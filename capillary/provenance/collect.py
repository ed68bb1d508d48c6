"""The host's half of a run's provenance: a value, and the files that go with it."""

import hashlib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from capillary.provenance.git import Changes, Workspace, read_changes, read_workspace
from capillary.provenance.masking import mask
from capillary.yaml_file import read_yaml
from stages.common.params import PARAMS_FILE
from stages.common.runtime import Provenance, SourceData

DIFF = "changes.diff"
LOCK = "dvc.lock"
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
    kept = {name: mask((root / name).read_bytes(), known) for name in _whole(root)}
    value = Provenance(
        **_of_git(workspace),
        diff=_state(changes, diff),
        diff_bytes=len(diff or b""),
        diff_sha256=hashlib.sha256(diff).hexdigest() if diff else None,
        source=read_source(root),
        data=dict(data),
        environment=tuple(environment),
        tools=_tools(root),
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


def _whole(root: Path) -> list[str]:
    return [name for name in (str(PARAMS_FILE), LOCK) if (root / name).is_file()]


def _tools(root: Path) -> dict[str, str]:
    """Versions of what ran the stage. capillary's is the checkout's: in the dvc-runner that is what runs."""
    project = root / "pyproject.toml"
    own = tomllib.loads(project.read_text())["project"] if project.is_file() else {}
    version = own["version"] if own.get("name") == "capillary" else metadata.version("capillary")
    return {"capillary": version, "dvc": metadata.version("dvc")}


def read_source(root: Path) -> SourceData | None:
    """What ingest read, by the record in dvc.lock; None where there is none."""
    params = read_yaml(root / PARAMS_FILE) if (root / PARAMS_FILE).is_file() else {}
    path = (params.get("ingest") or {}).get("source")
    stages = (read_yaml(root / LOCK).get("stages") or {}) if (root / LOCK).is_file() else {}
    deps = (stages.get("ingest") or {}).get("deps") or []
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
