"""Git: DVC keeps experiments in its commits, and a result is traced back to one."""

import subprocess
from pathlib import Path

from stages.common.preflight.check import Check, missed, passed, warned
from stages.common.text import counted

_STATUS = ("git", "status", "--porcelain=v2", "--branch", "--untracked-files=no")


def check_git(root: Path, *, critical: bool) -> Check:
    """A repository with a commit; changed files or a detached HEAD are worth knowing."""
    wanted = "a repository with a commit"
    try:
        asked = subprocess.run(_STATUS, cwd=root, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return missed("git", "git is not on PATH", wanted, "install Git", critical=critical)
    if asked.returncode:
        said = asked.stderr.strip().splitlines()
        remedy = "run this in a clone of the project, or start one here: git init && git add -A && git commit"
        return missed("git", said[0] if said else "git fails", wanted, remedy, critical=critical)
    heads = dict(line.removeprefix("# branch.").split(" ", 1) for line in asked.stdout.splitlines() if line[0] == "#")
    changed = [line for line in asked.stdout.splitlines() if line[0] != "#"]
    if fault := _unusable(root, changed):
        return missed("git", fault[0], wanted, fault[1], critical=critical)
    if heads["oid"] == "(initial)":
        return missed("git", "no commit yet", wanted, "git add -A && git commit -m start", critical=critical)
    commit = heads["oid"][:7]
    if changed:
        number = f"{len(changed)} changed file{'s' if len(changed) > 1 else ''}"
        remedy = "commit first, so that the result belongs to a commit; dvc exp run includes the changes"
        return warned("git", f"{number} on top of {commit}", "all committed", remedy)
    if heads["head"] == "(detached)":
        remedy = "git switch -c NAME, before you commit results: a commit without a branch is easily lost"
        return warned("git", f"detached at {commit}", "on a branch", remedy)
    return passed("git", f"{heads['head']} at {commit}", wanted, critical=critical)


def _unusable(root: Path, changed: list[str]) -> tuple[str, str] | None:
    """(what, remedy) of a state in which the results of a run could not be saved as an experiment."""
    conflicts = [line for line in changed if line.startswith("u ")]
    if conflicts:
        return (
            f"{counted(len(conflicts), 'file')} with conflicts of a merge",
            "resolve them and commit, or git merge --abort",
        )
    argv = ("git", "rev-parse", "--git-path", "index.lock")
    lock = root / subprocess.run(argv, cwd=root, check=False, capture_output=True, text=True).stdout.strip()
    if lock.name == "index.lock" and lock.exists():
        remedy = "wait for the git that is running here; if there is none, one was killed: remove this file"
        return f"{lock} exists", remedy
    return None
