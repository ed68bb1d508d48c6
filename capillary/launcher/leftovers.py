"""What runs that were killed or stopped leave in a workspace, and nobody takes up any more."""

import fcntl
import json
import shutil
from collections.abc import Collection
from pathlib import Path

from stages.common.progress import say

TORN = "JSON structure is corrupted"  # what DVC says, whatever it is asked for, when its list is torn


def remove_torn(root: Path) -> None:
    """Remove DVC's list of the paths that its processes in `root` work on if nobody can read it; DVC starts a new one.

    A kill while it is written leaves half of it.
    """
    file = root / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(file.read_text())
    except FileNotFoundError:
        return
    except ValueError:
        file.unlink(missing_ok=True)


def remove_resume_folders(states: Path, used: Collection[str]) -> None:
    """Remove the resume folders in `states` but for those named in `used` and those whose run goes on."""
    for folder in sorted(states.glob(f"*-{'[0-9a-f]' * 16}")):
        if folder.name in used:
            continue
        if _is_held(folder):
            say(f"{folder} stays: its run goes on")
            continue
        say(f"removing {folder}: its run cannot be resumed any more")
        shutil.rmtree(folder)


def _is_held(folder: Path) -> bool:
    """Whether a training holds the lock in its folder (stages/train/resuming/lock.py)."""
    try:
        with (folder / "lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
