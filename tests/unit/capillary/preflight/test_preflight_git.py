import subprocess
from pathlib import Path

import pytest

from capillary.preflight.git import check_git
from stages.common.preflight.check import Check, Status
from tests.support.parts import command_environment


def git(root: Path, *words: str) -> str:
    argv = ["git", *words]
    return subprocess.run(argv, cwd=root, env=command_environment(), check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With one commit."""
    (tmp_path / "a.txt").write_text("a")
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "a"]):
        git(tmp_path, *words)
    return tmp_path


def check(root: Path) -> Check:
    return check_git(root, critical=True)


def test_a_clean_repository_passes(repository: Path) -> None:
    """The branch is told; files that Git does not know change nothing."""
    (repository / "unknown.txt").touch()
    assert check(repository).status is Status.PASS
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert check(repository).value == f"main at {commit[:7]}"


def test_a_folder_without_a_repository_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after the download of a ZIP file."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert check(tmp_path).status is Status.FAIL
    assert "not a git repository" in check(tmp_path).value


def test_a_repository_without_a_commit_fails(tmp_path: Path) -> None:
    """There is nothing for an experiment to be based on."""
    git(tmp_path, "init", "-q")
    assert (check(tmp_path).status, check(tmp_path).value) == (Status.FAIL, "no commit yet")


def test_changed_files_are_worth_a_warning(repository: Path) -> None:
    """They are counted."""
    (repository / "a.txt").write_text("b")
    assert check(repository).status is Status.WARN
    assert "1 changed file on top of" in check(repository).value
    (repository / "b.txt").touch()
    git(repository, "add", "b.txt")
    assert "2 changed files on top of" in check(repository).value


def test_a_detached_head_is_worth_a_warning(repository: Path) -> None:
    """Commits on it are lost easily."""
    git(repository, "checkout", "-q", "--detach")
    assert check(repository).status is Status.WARN
    assert "detached" in check(repository).value


def test_a_machine_without_git_fails(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said as that."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert (check(repository).status, check(repository).value) == (Status.FAIL, "git is not on PATH")


def test_a_git_that_fails_without_a_word_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning where the check is not critical."""
    (tmp_path / "git").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = check_git(tmp_path, critical=False)
    assert (found.status, found.value) == (Status.WARN, "git fails")
