"""What a new project starts from."""

import re
import subprocess
from pathlib import Path

import pytest

from capillary.new_project.sample import LIST, PLACES, project_files, read_sample
from stages.common.errors import CapillaryError
from tests.support.parts import REPOSITORY

IRIS = REPOSITORY / "samples" / "iris"
# the tutorial is about the sample; DVC writes the other one itself
NOT_COPIED = {"README.md", ".dvc/.gitignore"}


def test_the_list_names_the_files_of_the_sample() -> None:
    """Whoever adds a file to the sample adds it to new projects. What a run of the sample made is none of them."""
    tracked = subprocess.run(["git", "ls-files"], cwd=IRIS, check=True, capture_output=True, text=True).stdout.split()
    assert LIST.read_text().split() == [name for name in tracked if name not in NOT_COPIED]


def test_a_new_project_has_its_own_name() -> None:
    """And the sample's only where the data are irises."""
    files = project_files("flowers", read_sample())
    named = {name for name, content in files.items() if re.search(rb"(?i)\biris\b", content)}
    assert named <= {"params.yaml", "source/README.md", "README.md"}
    assert b"model_name: flowers " in files["params.yaml"]
    assert files["README.md"].startswith(b"# flowers\n")
    assert b"{name}" not in files["README.md"]


def test_the_files_with_a_dot_are_there() -> None:
    """Settings to copy, and what Git, DVC and Docker leave out."""
    assert {".env.example", ".gitignore", ".gitattributes", ".dvcignore", ".dockerignore"} <= read_sample().keys()


def test_the_copy_in_a_wheel_comes_first(tmp_path: Path) -> None:
    """Site-packages may have a folder `samples` of somebody else's."""
    for name in LIST.read_text().split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert read_sample((tmp_path, *PLACES))["dvc.yaml"] == b"dvc.yaml"


def test_an_installation_without_the_sample_says_so(tmp_path: Path) -> None:
    """The dvc-runner's image is one."""
    with pytest.raises(CapillaryError, match="lacks the files") as caught:
        read_sample((tmp_path,))
    assert "wheel" in caught.value.remedy
