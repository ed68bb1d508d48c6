"""The code of a training: its commit in its own Git worktree, which leaves the user's files alone."""

import os
import subprocess
from pathlib import Path

from stages.common.errors import CapillaryError, DataError, ServiceError, UsageError
from stages.common.text import visible

# hooks are the user's, and were written for checkouts of their own
_GIT = ("git", "-c", f"core.hooksPath={os.devnull}")
FETCH_PATIENCE_S = 600


def ensure_commit(root: Path, commit: str, recorded_remote: str | None) -> None:
    """Make sure that the repository of `root` has `commit`, from one of its own remotes if need be.

    A remote that a registry names is never asked: it is shown to the user, who may add it. Raises CapillaryError.
    """
    if _has(root, commit):
        return
    remotes = _git(root, "remote").stdout.decode().split()
    for remote in sorted(remotes, key=lambda name: name != "origin"):
        # a server may refuse a bare commit; then its branches may lead to it
        for what in ([commit], []):
            _git(root, "fetch", "--quiet", "--no-write-fetch-head", "--", remote, *what)
            if _has(root, commit):
                return
    where = f"; it was recorded from {visible(recorded_remote)}" if recorded_remote else ""
    raise DataError(
        f"neither this repository nor its remotes have the commit {commit}{where}",
        file=root,
        value=f"remotes: {', '.join(remotes) or 'none'}",
        remedy="run this in a clone of the repository that trained the model; or, if you trust that address, add it "
        "(git remote add NAME URL) and repeat. A commit that was never pushed exists only where it was made",
    )


def add_worktree(root: Path, commit: str, folder: Path) -> None:
    """Check `commit` out into the new `folder`. Raises CapillaryError."""
    done = _git(root, "worktree", "add", "--quiet", "--detach", str(folder), commit)
    if done.returncode:
        raise _failed("cannot check out the commit", folder, done)


def check_out(tree: Path, commit: str) -> None:
    """Bring the tracked files of the worktree `tree` to `commit`, over changes to them. Raises CapillaryError."""
    done = _git(tree, "checkout", "--quiet", "--force", "--detach", commit)
    if done.returncode:
        raise _failed("cannot check out the commit", tree, done)


def remove_worktree(root: Path, folder: Path) -> None:
    """Make Git forget `folder` and remove its files; nothing if it is gone."""
    _git(root, "worktree", "remove", "--force", "--force", str(folder))
    _git(root, "worktree", "prune")


def apply_changes(tree: Path, prefix: str, diff: bytes) -> None:
    """Apply `diff`, which was checked (patch.py), to the project at `prefix` of the worktree `tree`."""
    _apply(tree, prefix, diff)


def changed_modes(tree: Path, prefix: str, diff: bytes) -> dict[str, tuple[str, str]]:
    """Name → mode before and after, as Git writes it, of each file that `diff` would change; no file is touched."""
    _apply(tree, prefix, diff, "--cached")
    done = _git(tree, "diff", "--cached", "--raw", "-z", "--no-renames", "HEAD")
    _git(tree, "reset", "--quiet")
    heads = iter(done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1])  # :100644 120000 …, and the name
    return {name: (head[1:7], head[8:14]) for head, name in zip(heads, heads, strict=True)}


def _apply(tree: Path, prefix: str, diff: bytes, *options: str) -> None:
    where = (f"--directory={prefix.rstrip('/')}",) if prefix else ()
    done = _git(tree, "apply", "--whitespace=nowarn", *options, *where, "-", stdin=diff)
    if done.returncode:
        raise _failed("the recorded changes do not fit their commit", tree, done)


def touched_files(tree: Path, diff: bytes) -> list[str]:
    """The paths that `diff` changes, as Git reads it. Raises CapillaryError for what is not a diff."""
    done = _git(_top(tree), "apply", "--numstat", "-z", "-", stdin=diff)
    if done.returncode:
        raise _failed("the recorded changes are not a diff", tree, done)
    entries = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    return [entry.split("\t", 2)[2] for entry in entries if entry.count("\t") >= 2]


def _top(folder: Path) -> Path:
    """The top of the worktree that `folder` is in.

    Below it Git leaves out all paths of a diff that do not begin with the folder's. A record's begin at the project.
    """
    return folder / os.fsdecode(_git(folder, "rev-parse", "--show-cdup").stdout).rstrip("\n")


def is_repository(root: Path) -> bool:
    """Whether Git knows `root`."""
    return _git(root, "rev-parse", "--git-dir").returncode == 0


def _has(root: Path, commit: str) -> bool:
    return _git(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def _git(folder: Path, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    # GIT_DIR and the like would lead to another repository
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "SSH" in name}
    variables = {**own, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        return subprocess.run(
            [*_GIT, *arguments],
            cwd=folder,
            env=variables,
            input=stdin,
            check=False,
            capture_output=True,
            timeout=FETCH_PATIENCE_S,
        )
    except FileNotFoundError as error:
        raise UsageError("git is not on PATH", remedy="install Git") from error
    except subprocess.TimeoutExpired as error:
        raise ServiceError(
            f"git {arguments[0]} took more than {FETCH_PATIENCE_S} s",
            remedy="fetch the commit yourself, then repeat",
        ) from error


def _failed(what: str, folder: Path, done: "subprocess.CompletedProcess[bytes]") -> CapillaryError:
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return DataError(
        what,
        file=folder,
        value="\n".join(said[:5]) or "Git says nothing",
        remedy="name another version, or see its provenance in MLflow and follow it by hand",
    )
