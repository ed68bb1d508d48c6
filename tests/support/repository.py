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


@functools.cache
def _empty() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="capillary-empty-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for argv in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(argv, cwd=folder, env=command_environment(), check=True, capture_output=True)
    return folder
