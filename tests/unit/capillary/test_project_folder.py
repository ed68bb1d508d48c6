"""Commands that were started in another folder than a project's say so, and leave nothing there."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from capillary.cli import app
from capillary.yaml_file import read_yaml
from stages.common.errors import CapillaryError, ExitCode, ParamsError


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a project, and the current one."""
    (tmp_path / "dvc.yaml").touch()
    folder = tmp_path / "my notebooks"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        "ps",
        "clean",
        "sync",
        "models",
        "show x",
        "jobs",
        "jobs --json",
        "cache audit",
        "weights keep",
        "metrics",
        "serve",
    ],
)
def test_a_command_below_a_project_names_the_project(below: Path, words: str) -> None:
    """It finds nothing there, and `nothing waits to be published` would be wrong."""
    done = CliRunner().invoke(app, words.split())
    error = done.exception
    assert isinstance(error, CapillaryError), done.output
    assert error.code == ExitCode.USAGE
    assert str(below.parent) in error.remedy
    assert list(below.iterdir()) == []


def test_elsewhere_there_is_no_project_to_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy then ends before it."""
    monkeypatch.chdir(tmp_path)
    error = CliRunner().invoke(app, ["sync"]).exception
    assert isinstance(error, CapillaryError)
    assert error.remedy == "run this in the project's own folder"


@pytest.mark.parametrize(
    ("folder", "file", "remedy"),
    [
        ("my notebooks", "dvc.yaml", "run this in the project's own folder: cd "),
        ("configs", "dvc.yaml", "run this in the project's own folder: cd "),
        (".", "params.yaml", "restore it: git checkout -- "),
        (".", "configs/preflight.yaml", "restore it: git checkout -- "),
    ],
)
def test_a_missing_file_is_restored_where_the_project_is(below: Path, folder: str, file: str, remedy: str) -> None:
    """Git has no dvc.yaml for another folder."""
    root = below.parent
    (root / "configs").mkdir()
    with pytest.raises(ParamsError) as caught:
        read_yaml(root / folder / file)
    assert caught.value.remedy.startswith(remedy)
