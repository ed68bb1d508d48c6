"""The folder of a project: where every command runs, and what to do for one that was started somewhere else."""

import shlex
from pathlib import Path

from stages.common.errors import UsageError

SIGNS = ("dvc.yaml", ".dvc", "configs/stages.yaml")


def is_project(folder: Path) -> bool:
    """Whether `folder` is a project's own folder, also one that lacks a file."""
    return any((folder / sign).exists() for sign in SIGNS)


def require_project(root: Path) -> None:
    """Raise CapillaryError (usage) in any other folder, where a command would find nothing and say that all is well."""
    if not is_project(root):
        raise UsageError("this is not the folder of a project", file=root.absolute(), remedy=go_there(root))


def go_there(root: Path) -> str:
    """The remedy, with the project that `root` is in if there is one."""
    outer = next((folder for folder in root.absolute().parents if is_project(folder)), None)
    return "run this in the project's own folder" + ("" if outer is None else f": cd {shlex.quote(str(outer))}")
