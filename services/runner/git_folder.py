"""The Git folder of a checkout whose own .git only leads to it: a worktree, a submodule, a link.

The checkout alone is mounted, so the folder is not there. Compose mounts it at MOUNTED where CAPILLARY_GIT_DIR names
it, and a link at the path that .git names makes it findable. Standard library alone: this runs before anything else.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTED = Path("/capillary/git")
# by Git's own naming of its folders; a bare repository may be called anything
_COMMON = (re.compile(r"(.*?\.git)/(?:worktrees|modules)/"), re.compile(r"(.*)/worktrees/[^/]+$"))


@dataclass(frozen=True)
class GitFolder:
    """What .git leads to: `own` is the checkout's part (…/.git/worktrees/mine) of `common`, the whole.

    `source` is what the host calls `common`: relative to the checkout where .git says so.
    """

    kind: str
    own: Path
    common: Path
    source: str


@dataclass(frozen=True)
class Missing:
    """A folder of Git's that is not mounted. `source` is what the host calls it."""

    what: str
    path: Path
    source: str


def find(workspace: Path) -> GitFolder | None:
    """Where the checkout's .git leads to; None if it is the Git folder itself, or is missing."""
    git = workspace / ".git"
    if git.is_symlink():
        written = str(git.readlink())
    elif git.is_file():
        written = git.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
    else:
        return None
    own = os.path.normpath(workspace / written)
    common = next((match[1] for pattern in _COMMON if (match := pattern.match(own))), own)
    source = common if Path(written).is_absolute() else os.path.relpath(common, workspace)
    return GitFolder(_kind(own), Path(own), Path(common), source)


def links(folder: GitFolder, workspace: Path, mounted: Path = MOUNTED) -> Iterator[tuple[Path, Path]]:
    """(link, what it leads to): what makes `folder` findable, where it is mounted and not at its own path."""
    inner = mounted / folder.own.relative_to(folder.common)
    if folder.own.exists() or not inner.is_dir():
        return
    yield folder.common, mounted
    back = _checkout_of(inner)
    if back is not None and not back.exists():
        yield back, workspace


def _checkout_of(own: Path) -> Path | None:
    """The checkout as its own part of a Git folder names it: a worktree's in a file, a submodule's in its config."""
    named, config = own / "gitdir", own / "config"
    if named.is_file():
        return Path(os.path.normpath(own / named.read_text(encoding="utf-8").strip())).parent
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    found = re.search(r"^\s*worktree\s*=\s*(.+?)\s*$", text, re.MULTILINE)
    return Path(os.path.normpath(own / found[1])) if found else None


def missing(workspace: Path) -> Missing | None:
    """What of the checkout's Git is not mounted, None when all is there."""
    folder = find(workspace)
    if folder is not None and not folder.own.exists():
        return Missing(
            f"this checkout is {folder.kind}, and its .git leads to {folder.own}", folder.common, folder.source
        )
    objects = (folder.common if folder else workspace / ".git") / "objects"
    borrowed = objects / "info" / "alternates"
    for line in borrowed.read_text().splitlines() if borrowed.is_file() else ():
        place = Path(os.path.normpath(objects / line))
        if line and not place.exists():
            source = str(place) if Path(line).is_absolute() else os.path.relpath(place, workspace)
            return Missing(f"this checkout borrows Git objects from {place}", place, source)
    return None


def _kind(own: str) -> str:
    if "/worktrees/" in own:
        return "a Git worktree"
    return "a Git submodule" if "/modules/" in own else "separate from its Git folder"
