"""`capillary new` from a wheel: what somebody has who installed capillary and has no checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.parts import REPOSITORY, command_environment

NEW = "import sys; from capillary.__main__ import main; sys.argv = ['capillary', *sys.argv[1:]]; main()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built by pip from what Git tracks, unpacked as an installation is."""
    folder = tmp_path_factory.mktemp("wheel")
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=REPOSITORY, check=True, capture_output=True).stdout
    (folder / "source").mkdir()
    subprocess.run(["tar", "-x"], input=archive, cwd=folder / "source", check=True)
    # what a run of the sample left is in no wheel
    (folder / "source" / "samples" / "iris" / ".env").write_text("MLFLOW_TRACKING_PASSWORD=secret\n")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(folder / "source")], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def _new(installed: Path, folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = command_environment(PYTHONPATH=str(installed), **variables)
    argv = [sys.executable, "-P", "-c", NEW, "new", *arguments]
    return subprocess.run(argv, cwd=folder, env=environment, check=False, capture_output=True, text=True)


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_a_project_is_a_repository_of_both_with_one_commit(installed: Path, tmp_path: Path) -> None:
    """All of the sample's files, nothing that a run of it made, and nothing left to commit."""
    assert (installed / "capillary" / "new_project" / "sample" / "dvc.yaml").is_file()
    done = _new(installed, tmp_path, "flowers")
    assert done.returncode == 0, done.stderr
    root = tmp_path / "flowers"
    assert _git(root, "log", "--format=%s").split("\n") == ["Start flowers", ""]
    assert _git(root, "status", "--porcelain") == ""
    listed = (REPOSITORY / "capillary" / "new_project" / "sample.txt").read_text().split()
    assert set(_git(root, "ls-files").split()) == {*listed, "README.md", ".dvc/.gitignore"}
    assert "analytics = false" in (root / ".dvc" / "config").read_text()
    assert "model_name: flowers " in (root / "params.yaml").read_text()
    assert not (root / ".env").exists()
    assert [each.name for each in tmp_path.iterdir()] == ["flowers"]


def test_without_an_identity_nothing_is_committed(installed: Path, tmp_path: Path) -> None:
    """One that Git makes up from the machine's name is nobody's; the files are staged, and a line says what to do."""
    nobody = {f"GIT_{who}_{what}": "" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    nobody |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = _new(installed, tmp_path, "flowers", "--at", "work/mine", **nobody)
    assert done.returncode == 0, done.stderr
    assert "Git has no identity" in done.stdout + done.stderr
    assert "dvc.yaml" in _git(tmp_path / "work" / "mine", "diff", "--cached", "--name-only").split()
