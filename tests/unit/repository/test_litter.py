"""What programs leave next to the code, and what Git does to line ends, changes no stage's input."""

import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.support.parts import REPOSITORY

LITTER = [
    *(".part.py.swp", ".part.py.swo", "part.py~", ".#part.py", "#part.py#", ".part.py.kate-swp", "4913"),
    *("part.py.orig", "part.py.rej", "part.py.bak", ".DS_Store", "._part.py", "Thumbs.db", "desktop.ini"),
    *(".nfs0000000001", ".fuse_hidden0001", ".directory", ".coverage", ".coverage.host.1.x", "part.cpython-311.pyc"),
    *("__pycache__/x.pyc", ".ipynb_checkpoints/x.ipynb", ".idea/x.xml", ".vscode/settings.json", ".mypy_cache/x"),
    *(".ruff_cache/x", ".pytest_cache/x", ".hypothesis/x", ".Trash-0/x"),
]
CODE = ["part.py", "__init__.py", "tables.csv", "a.swift", "notes.md", "data/x.tif"]


@pytest.fixture
def repository(tmp_path: Path) -> Repo:
    """An empty project with this project's rules."""
    shutil.copy(REPOSITORY / ".dvcignore", tmp_path)
    return Repo.init(str(tmp_path), no_scm=True)


@pytest.mark.parametrize("name", LITTER)
def test_litter_is_no_input(repository: Repo, name: str) -> None:
    """An open editor must not make a training start again."""
    file = _write(repository, name)
    assert repository.dvcignore.check_ignore(str(file)).match


@pytest.mark.parametrize("name", CODE)
def test_code_and_data_are_inputs(repository: Repo, name: str) -> None:
    """The rules are no wider than they say."""
    assert not repository.dvcignore.check_ignore(str(_write(repository, name))).match


def _write(repository: Repo, name: str) -> Path:
    file = Path(repository.root_dir) / "stages" / "train" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return file


def test_no_setting_of_git_changes_a_line_end(tmp_path: Path) -> None:
    """A checkout with core.autocrlf has the bytes that the commit has."""
    setting = ["-c", "core.autocrlf=true"]
    subprocess.run(
        ["git", *setting, "clone", "-q", "--no-hardlinks", str(REPOSITORY), str(tmp_path / "clone")], check=True
    )
    for name in ("just", "dvc.yaml", "stages/train/part.py", "constraints.txt"):
        assert b"\r" not in (tmp_path / "clone" / name).read_bytes()


def test_git_has_no_data_next_to_the_code() -> None:
    """What a trial left in the top folder would come with every clone; stacks to try are in samples/."""
    listed = subprocess.run(["git", "ls-files", "--", ":(glob)*"], cwd=REPOSITORY, check=True, capture_output=True)
    files = [REPOSITORY / name for name in listed.stdout.decode().split()]
    assert REPOSITORY / "dvc.yaml" in files
    assert [file.name for file in files if b"\0" in file.read_bytes()] == []
