"""A Git and DVC repository without anything in it. DVC takes a second to make one, a copy takes none."""

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.parts import command_environment


def start_repository(root: Path) -> None:
    """Make the folder `root`, which may exist and hold files, a repository of both."""
    shutil.copytree(_empty(), root, dirs_exist_ok=True)


def start_dvc(root: Path) -> None:
    """Make the folder `root`, which may exist and hold files, a DVC project without Git."""
    shutil.copytree(_empty_dvc(), root, dirs_exist_ok=True)


@functools.cache
def _empty() -> Path:
    folder = _new_folder()
    for argv in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(argv, cwd=folder, env=command_environment(), check=True, capture_output=True)
    return folder


@functools.cache
def _empty_dvc() -> Path:
    from dvc.repo import Repo  # a second; most tests here start DVC as a command

    folder = _new_folder()
    Repo.init(str(folder), no_scm=True).close()
    return folder


def _new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="capillary-empty-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
