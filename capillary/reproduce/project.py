"""The project as it was: its code, changes and params in its own folder, which reaches the user's DVC cache."""

import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from capillary.reproduce.commit import (
    add_worktree,
    apply_changes,
    changed_modes,
    check_out,
    remove_worktree,
    touched_files,
)
from capillary.reproduce.dvc_config import local_config
from capillary.reproduce.patch import refuse_links, refuse_unsafe
from capillary.reproduce.recipe import Recipe, Recorded
from capillary.reproduce.recorded_yaml import read_mapping, refused
from capillary.settings import SHARED_CACHE, Settings
from stages.common.errors import DataError
from stages.common.lifetimes.locks import is_held, locked
from stages.common.machine.limits import find_limits
from stages.common.provenance.record import LOCK, PARAMS, Computing

FOLDER = Path(".capillary", "reproduce")
DATA_STAGES = ("ingest", "preprocess")
_KEEP, _HELD, _TREE = "keep", "lock", "tree"
# of the user's own runs: where they are tracked, what they resume from, what runs them
_NOT_HANDED_ON = ("MLFLOW_", "DVC_EXP_", "DVC_ROOT", "DVC_STAGE", "GIT_", "PYTHONPATH", "ARTIFACTS_")
# what is to be computed again is not fetched, and nothing of it goes to others
_OWN = ("CAPILLARY_TRACKING", "CAPILLARY_CHECKPOINT_DIR", "CAPILLARY_RESUME", "CAPILLARY_SIDE_BY_SIDE", SHARED_CACHE)


@dataclass(frozen=True, kw_only=True)
class Project:
    """`tree` is the worktree, `root` the project in it."""

    base: Path
    tree: Path
    root: Path


@contextlib.contextmanager
def laid_out(repository: Path, recipe: Recipe, cache_dir: Path, *, keep: bool) -> Iterator[Project]:
    """The project of `recipe` below .capillary/reproduce of `repository`, removed at the end unless it is to be kept.

    Its commit must be there. Raises CapillaryError when the record does not fit it.
    """
    parent = repository / FOLDER
    parent.mkdir(parents=True, exist_ok=True)
    sweep(repository)
    base = Path(tempfile.mkdtemp(prefix=f"{recipe.first.commit[:12]}-", dir=parent)).resolve()
    with locked(base / _HELD):
        try:
            yield _lay(repository, recipe, cache_dir, base)
            if keep:
                (base / _KEEP).touch()
        finally:
            if not (base / _KEEP).exists():
                _remove(repository, base)


def sweep(repository: Path) -> None:
    """Remove what reproductions that were killed left behind; what somebody kept stays."""
    for base in (repository / FOLDER).iterdir():
        if not (base / _KEEP).exists() and base.is_dir() and not _is_held(base):
            _remove(repository, base)


def _is_held(base: Path) -> bool:
    try:
        return is_held(base / _HELD)
    except OSError:
        return True  # the disk has no locks


def _remove(repository: Path, base: Path) -> None:
    remove_worktree(repository, base / _TREE)
    shutil.rmtree(base, ignore_errors=True)
    remove_worktree(repository, base / _TREE)  # what Git could not remove is gone now, and is forgotten


def _lay(repository: Path, recipe: Recipe, cache_dir: Path, base: Path) -> Project:
    first, tree = recipe.first, base / _TREE
    add_worktree(repository, first.commit, tree)
    project = Project(base=base, tree=tree, root=tree / first.host.prefix)
    _change(project, first)
    _write(project.root / LOCK, data_lock(first.lock))
    config = local_config(repository / ".dvc", cache_dir)
    _write(project.root / ".dvc" / "config.local", config, mode=0o600)  # credentials
    return project


def move(project: Project, then: Recorded, now: Recorded) -> None:
    """Bring the code, changes and params of `project` from the state `then` to `now`; what was made in it stays.

    Their commits must be there, and the project in the same folder of both. Raises CapillaryError.
    """
    lock = (project.root / LOCK).read_bytes()
    for name in touched_files(project.tree, then.diff) if then.diff else ():
        (project.root / name).unlink(missing_ok=True)  # a file that Git does not know would stay
    check_out(project.tree, now.commit)
    _change(project, now)
    _write(project.root / LOCK, lock)


def _change(project: Project, recorded: Recorded) -> None:
    """The changes and params of `recorded`, on top of its commit."""
    _refuse_other_layout(project.root, project.tree)
    if recorded.diff:
        refuse_unsafe(touched_files(project.tree, recorded.diff))
        refuse_links(changed_modes(project.tree, recorded.host.prefix, recorded.diff))
        apply_changes(project.tree, recorded.host.prefix, recorded.diff)
    read_mapping(recorded.params, PARAMS)
    _write(project.root / PARAMS, recorded.params)


def _refuse_other_layout(root: Path, tree: Path) -> None:
    """Raise DataError if the commit has no project at `root`, or leads elsewhere by a link."""
    places = (root, root / ".dvc", root / "dvc.yaml")
    if not all(place.exists() and place.resolve().is_relative_to(tree) for place in places):
        raise DataError(
            "the commit has no DVC project in the folder where the training's project was",
            remedy="name another version",
            file=root,
        )


def _write(file: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace `file`, which a commit may have made a link; others never read what `mode` keeps from them."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)


def data_lock(lock: bytes) -> bytes:
    """The part of dvc.lock that finds data by hash; a record of a training would make DVC skip it."""
    recorded = read_mapping(lock, LOCK) if lock else {}
    stages = recorded.get("stages") or {}
    if not isinstance(stages, dict):
        raise refused(LOCK, "its `stages` are not a mapping")
    kept = {name: entry for name, entry in stages.items() if name in DATA_STAGES}
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump({"schema": "2.0", "stages": kept}, text)
    return text.getvalue().encode()


def environment_of(settings: Settings, project: Project, computing: Computing) -> dict[str, str]:
    """Variables for DVC in `project`: its own code, its own embedded store, threads and processes as they were."""
    kept = {
        name: value
        for name, value in settings.variables.items()
        if not name.startswith(_NOT_HANDED_ON) and name not in _OWN
    }
    beside = str(Path(sys.executable).parent)
    path = kept.get("PATH", os.defpath)
    counts = computing_variables(computing, find_limits().cores)
    return {**kept, **counts, "PATH": _with(path, beside), "PYTHONPATH": str(project.root), "DVC_NO_ANALYTICS": "1"}


def _with(path: str, folder: str) -> str:
    """`path` that finds `capillary`: in `folder`, unless it is found already."""
    return path if shutil.which("capillary", path=path) else f"{folder}{os.pathsep}{path}"


def computing_variables(computing: Computing, cores: float) -> Mapping[str, str]:
    """Threads and processes as they were, where the machine has as many cores."""
    if computing.threads * computing.processes > cores:
        return {}
    return {"CAPILLARY_THREADS": str(computing.threads), "CAPILLARY_PROCESSES": str(computing.processes)}
