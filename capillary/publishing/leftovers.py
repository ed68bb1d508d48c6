"""What previous runs leave in a workspace and nobody takes up any more: killed ones, and those of another graph."""

import itertools
import json
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from capillary.publishing.remove_tree import remove_tree
from stages.common.lifetimes.locks import is_held
from stages.common.program.messages import get_logger

log = get_logger(__name__)

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
    """Remove the resume folders in `states` but for those named in `used` and those whose run continues."""
    for folder in sorted(states.glob(f"*-{'[0-9a-f]' * 16}")):
        if folder.name in used:
            continue
        if is_held(folder / "lock"):  # by a training (stages/train/resuming/lock.py)
            log.info(f"{folder} stays: its run is active")
            continue
        log.info(f"removing {folder}: its run can no longer be resumed")
        remove_tree(folder)


@dataclass(frozen=True, kw_only=True)
class CleanupPlan:
    """What becomes of files that the graph does not make: removed where DVC keeps them, else moved aside."""

    removed: tuple[Path, ...]
    aside: tuple[tuple[Path, Path], ...]


def plan_cleanup(strays: Sequence[Path], root: Path, aside: Path, is_kept: Callable[[Path], bool]) -> CleanupPlan:
    """What is to happen to `strays` of the workspace `root`; `aside` is the folder for those that nobody else has."""
    kept = {file: is_kept(file) for file in strays}
    moved = [file for file in strays if not kept[file]]
    return CleanupPlan(
        removed=tuple(file for file in strays if kept[file]),
        aside=tuple((file, _free(aside / file.relative_to(root))) for file in moved),
    )


def clear(clearance: CleanupPlan, root: Path, address: str) -> None:
    """Remove and move as planned, with the folders that are empty then, and say it."""
    for file in clearance.removed:
        file.unlink()
        _remove_empty(file.parent, root)
    for file, target in clearance.aside:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, target)
        _remove_empty(file.parent, root)
        log.warning(f"{address} would depend on {file.relative_to(root)}, which no stage makes: moved to {target}")
    if clearance.removed:
        names = ", ".join(str(file.relative_to(root)) for file in clearance.removed)
        log.info(f"removed, because no stage makes them now (DVC's cache keeps them): {names}")


def _free(wanted: Path) -> Path:
    """`wanted`, or the first of wanted.2, wanted.3, … that does not exist."""
    names = itertools.chain([wanted], (wanted.with_name(f"{wanted.name}.{n}") for n in itertools.count(2)))
    return next(path for path in names if not path.exists())


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove `folder` and those above it, up to two below `root`, as long as they are empty."""
    while folder.parent != root and folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
