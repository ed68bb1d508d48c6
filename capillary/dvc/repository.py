"""A workspace as DVC reads it."""

from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.repo import Repo


def open_repository(root: Path) -> Any:
    """DVC's view of the workspace `root`."""
    return Repo(str(root))


def cache_dir_of(root: Path) -> Path:
    """DVC's local cache of the workspace `root`, as its setting cache.dir names it."""
    return Path(Repo(str(root)).cache.local_cache_dir)


def file_deps(stage: Any) -> list[Any]:
    """The deps of one of DVC's stages, without its params."""
    return [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
