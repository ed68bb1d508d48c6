"""A checkout whose .git leads out of what is mounted: worktrees, submodules, links, borrowed objects."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.services.conftest import Load

Git = Callable[..., str]


@pytest.fixture
def folders(load: Load) -> ModuleType:
    return load("runner/git_folder.py")


@pytest.fixture
def git(monkeypatch: pytest.MonkeyPatch) -> Git:
    """A Git command in a folder; its output."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)

    def git(folder: Path, *argv: str) -> str:
        settings = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "protocol.file.allow=always")
        done = subprocess.run(["git", *settings, *argv], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    return git


@pytest.fixture
def main(tmp_path: Path, git: Git) -> Path:
    """A repository with a commit, in a folder whose name could be taken for Git's own."""
    root = tmp_path / "host" / "modules" / "main"
    root.mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    git(root, "commit", "-q", "--allow-empty", "-m", "first")
    return root


def move(host: Path, workspace: Path) -> Path:
    """`host`'s .git as the container sees it: the checkout alone, elsewhere."""
    workspace.mkdir()
    shutil.copy(host / ".git", workspace / ".git", follow_symlinks=False)
    return workspace


def test_an_ordinary_checkout_lacks_nothing(folders: ModuleType, main: Path, tmp_path: Path) -> None:
    """Nor does one without Git."""
    assert folders.find(main) is None
    assert folders.missing(main) is None
    assert folders.missing(tmp_path) is None


def test_a_worktree_names_the_folder_that_it_needs(folders: ModuleType, git: Git, main: Path, tmp_path: Path) -> None:
    """By the host's path, in the terms of the variable to set."""
    git(main, "worktree", "add", "-q", str(tmp_path / "host" / "mine"))
    shutil.move(main, tmp_path / "gone")  # not mounted
    found = folders.missing(move(tmp_path / "host" / "mine", tmp_path / "workspace"))
    assert (found.path, found.source) == (main / ".git", str(main / ".git"))
    assert "a Git worktree" in found.what


@pytest.mark.parametrize(
    ("written", "common", "kind"),
    [
        ("/srv/repo.git/worktrees/a", "/srv/repo.git", "a Git worktree"),
        ("/srv/.bare/worktrees/a", "/srv/.bare", "a Git worktree"),
        ("/a/.git/modules/sub/worktrees/b", "/a/.git", "a Git worktree"),
        ("/a/.git/modules/deep/sub", "/a/.git", "a Git submodule"),
        ("/elsewhere/folder", "/elsewhere/folder", "separate from its Git folder"),
    ],
)
def test_the_whole_of_a_git_folder_is_asked_for(
    folders: ModuleType, tmp_path: Path, written: str, common: str, kind: str
) -> None:
    """Objects and references are there, the checkout's own part is a small one."""
    (tmp_path / ".git").write_text(f"gitdir: {written}\n")
    found = folders.find(tmp_path)
    assert (str(found.common), found.source, found.kind) == (common, common, kind)


def test_a_mounted_git_folder_is_found_from_a_worktree(
    folders: ModuleType, git: Git, main: Path, tmp_path: Path
) -> None:
    """Through a link at the path that .git names: Git then knows its commit."""
    git(main, "worktree", "add", "-q", "-b", "mine", str(tmp_path / "host" / "mine"))
    mounted = tmp_path / "mounted"
    mine = tmp_path / "host" / "mine"
    workspace = move(mine, tmp_path / "workspace")
    shutil.rmtree(mine)
    shutil.move(main / ".git", mounted)
    links = list(folders.links(folders.find(workspace), workspace, mounted))
    # the second is the way back, which libgit2 takes: DVC's experiments need it
    assert links == [(main / ".git", mounted), (mine, workspace)]
    for link, target in links:
        link.symlink_to(target)
    assert folders.missing(workspace) is None
    assert git(workspace, "log", "--format=%s", "mine") == "first"
    assert "prunable" not in git(workspace, "worktree", "list", "--porcelain")
    assert list(folders.links(folders.find(workspace), workspace, mounted)) == []


def test_a_mounted_git_folder_is_found_from_a_submodule(
    folders: ModuleType, git: Git, main: Path, tmp_path: Path
) -> None:
    """Whose folder names the checkout in its turn, by a relative path."""
    above = tmp_path / "host" / "above"
    above.mkdir()
    git(above, "init", "-q")
    git(above, "submodule", "add", "-q", str(main), "sub")
    workspace, mounted = tmp_path / "inside" / "workspace", tmp_path / "place" / "git"
    workspace.parent.mkdir()
    move(above / "sub", workspace)
    mounted.parent.mkdir()
    shutil.move(above / ".git", mounted)
    missing = folders.missing(workspace)
    assert (missing.path, missing.source) == (tmp_path / "inside" / ".git", "../.git")
    for link, target in folders.links(folders.find(workspace), workspace, mounted):
        link.symlink_to(target)
    assert git(workspace, "log", "--format=%s") == "first"
    assert git(workspace, "rev-parse", "--show-toplevel") == str(workspace)


def test_a_mount_that_is_another_repository_changes_nothing(
    folders: ModuleType, git: Git, main: Path, tmp_path: Path
) -> None:
    """The refusal stays, with the path that is wanted."""
    git(main, "worktree", "add", "-q", str(tmp_path / "host" / "mine"))
    workspace = move(tmp_path / "host" / "mine", tmp_path / "workspace")
    shutil.rmtree(main)
    (tmp_path / "other").mkdir()
    assert list(folders.links(folders.find(workspace), workspace, tmp_path / "other")) == []
    assert folders.missing(workspace) is not None


def test_a_link_to_a_git_folder_is_followed(folders: ModuleType, main: Path, tmp_path: Path) -> None:
    """As some tools lay checkouts out."""
    (tmp_path / ".git").symlink_to("/nowhere/repo/.git")
    found = folders.missing(tmp_path)
    assert (str(found.path), found.source) == ("/nowhere/repo/.git", "/nowhere/repo/.git")


def test_borrowed_objects_are_named(folders: ModuleType, git: Git, main: Path, tmp_path: Path) -> None:
    """A clone with --shared or --reference has none of its own; nor has it any where the lender is not mounted."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--shared", str(main), str(clone))
    assert folders.missing(clone) is None
    shutil.rmtree(main)
    found = folders.missing(clone)
    assert found.path == main / ".git" / "objects"
    assert "borrows" in found.what


def test_the_entrypoint_refuses_with_the_variable_to_set(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line; for a borrowed folder the mount itself."""
    entrypoint = load("runner/entrypoint.py")
    monkeypatch.setattr(entrypoint, "WORKSPACE", tmp_path)
    (tmp_path / ".git").write_text("gitdir: /home/me/main/.git/worktrees/mine\n")
    with pytest.raises(SystemExit) as caught:
        entrypoint.require_git()
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert "set CAPILLARY_GIT_DIR=/home/me/main/.git in .env" in said
    assert "--volume /home/me/main/.git:/home/me/main/.git" in said
    assert said.count("\n") == 1
