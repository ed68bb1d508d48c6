"""A new project is whole or not there at all; what succeeds is in tests/integration/test_new_project.py."""

import sys
from pathlib import Path

import pytest

from capillary.new_project.create import NewProject, create_project, plan_project
from stages.common.errors import CapillaryError, ExitCode, UsageError


@pytest.mark.parametrize("name", ["flowers", "f", "a-b_2", "a" * 40])
def test_a_safe_name_is_taken(tmp_path: Path, name: str) -> None:
    """It is a folder, a model and an experiment."""
    project = plan_project(name, tmp_path / name)
    assert project.folder == tmp_path / name
    assert f"model_name: {name} ".encode() in project.files["params.yaml"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", ".a", "Flowers", "1a", "a b", "a\n", "a:b", "é", "a" * 41])
def test_another_name_is_refused(tmp_path: Path, name: str) -> None:
    """A path, an option, a hidden folder, what Docker or MLflow would refuse."""
    with pytest.raises(CapillaryError, match="cannot be the name of a project") as caught:
        plan_project(name, tmp_path / "x")
    assert caught.value.code == ExitCode.USAGE
    assert "lower-case letters" in caught.value.remedy


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    """Someone made it for this."""
    (tmp_path / "empty").mkdir()
    assert plan_project("flowers", tmp_path / "empty").folder == tmp_path / "empty"


@pytest.mark.parametrize("kind", ["full", "file", "link", "broken link"])
def test_a_folder_with_something_in_it_is_refused(tmp_path: Path, kind: str) -> None:
    """Nothing of anybody's is written over, and nothing is written through a link."""
    place = tmp_path / "place"
    if kind == "full":
        place.mkdir()
        (place / "notes.md").touch()
    elif kind == "file":
        place.touch()
    else:
        place.symlink_to(tmp_path / "other")
        if kind == "link":
            (tmp_path / "other").mkdir()
    with pytest.raises(CapillaryError, match="already exists") as caught:
        plan_project("flowers", place)
    assert caught.value.file == place
    assert "--at" in caught.value.remedy


def test_a_folder_in_a_repository_is_refused(tmp_path: Path) -> None:
    """Git would not see a repository within another one as its files."""
    (tmp_path / "outer" / ".git").mkdir(parents=True)
    with pytest.raises(CapillaryError, match="is in the Git repository") as caught:
        plan_project("flowers", tmp_path / "outer" / "work" / "flowers")
    assert f"--at {tmp_path / 'flowers'}" in caught.value.remedy


@pytest.mark.parametrize("program", [None, "echo no space >&2; exit 1"])
def test_nothing_is_left_of_a_project_that_could_not_be_made(tmp_path: Path, program: str | None) -> None:
    """Git is missing, or fails."""
    (tmp_path / "bin").mkdir()
    if program is not None:
        (tmp_path / "bin" / "git").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "bin" / "git").chmod(0o755)
    project = NewProject(name="flowers", folder=tmp_path / "work" / "flowers", files={"a": b"a"})
    with pytest.raises(CapillaryError) as caught:
        create_project(project, {"PATH": str(tmp_path / "bin")})
    assert caught.value.code == ExitCode.MACHINE
    assert ("not on PATH" in caught.value.what) if program is None else (caught.value.value == "no space")
    assert [left.name for left in tmp_path.iterdir()] == ["bin"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_place_where_nothing_can_be_made_is_named() -> None:
    """Root may write everywhere, but not there."""
    with pytest.raises(UsageError, match=r"cannot be made: .* \(/proc\)") as caught:
        create_project(NewProject(name="flowers", folder=Path("/proc/flowers"), files={}), {})
    assert "--at" in caught.value.remedy
