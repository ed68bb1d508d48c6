"""New versions become one branch and one pull request, whose token is in no command line."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.parts import REPOSITORY

GH = """#!/bin/sh
printf '%s\\n' "$*" >> "$GH_FOLDER/asked"
case "$*" in "pr list"*) cat "$GH_FOLDER/open" ;; esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a remote, a patch of new versions next to it, and a stand-in for `gh`."""
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "open").write_text("")
    root = tmp_path / "checkout"
    _git(tmp_path, "init", "-q", "--bare", "remote")
    _git(tmp_path, "init", "-q", "checkout")
    _git(root, "remote", "add", "origin", str(tmp_path / "remote"))
    (root / "constraints.txt").write_text("torch==2.13.0\n")
    _git(root, "add", "-A")
    _git(root, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "first")
    (root / "constraints.txt").write_text("torch==2.14.0\n")
    (tmp_path / "update.patch").write_text(_git(root, "diff", "--binary"))
    _git(root, "checkout", "-q", "--", ".")
    return root


def _git(folder: Path, *argv: str) -> str:
    return subprocess.run(["git", *argv], cwd=folder, check=True, capture_output=True, text=True).stdout


def _propose(root: Path) -> list[str]:
    """What `gh` was asked."""
    environment = {**os.environ, "PATH": f"{root.parent}:{os.environ['PATH']}"}
    environment |= {"GH_FOLDER": str(root.parent), "GH_TOKEN": "s3cr3t"}
    argv = ["sh", str(REPOSITORY / "scripts" / "ci" / "propose.sh"), str(root.parent / "update.patch")]
    subprocess.run(argv, cwd=root, env=environment, check=True, capture_output=True)
    return (root.parent / "asked").read_text().splitlines()


def test_the_patch_is_pushed_and_proposed(checkout: Path) -> None:
    """Git gets the token from gh; the pull request says how to run its tests."""
    asked = _propose(checkout)
    remote = checkout.parent / "remote"
    assert _git(remote, "show", "update/dependencies:constraints.txt") == "torch==2.14.0\n"
    assert asked[0] == "auth setup-git"
    assert asked[-1].startswith("pr create --head update/dependencies ")
    assert not any("s3cr3t" in line for line in asked)


def test_an_open_pull_request_is_kept(checkout: Path) -> None:
    """Its branch is pushed again, and no second one is opened."""
    (checkout.parent / "open").write_text("12\n")
    assert not any(line.startswith("pr create") for line in _propose(checkout))
