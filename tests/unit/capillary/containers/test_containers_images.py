import dataclasses
import shutil
from pathlib import Path

import pytest

from capillary.containers.images import environment_for, holds_torch
from capillary.settings import ImageSettings, TorchName
from stages.common.errors import CapillaryError, ExitCode
from tests.support.parts import REPOSITORY

SETTINGS = ImageSettings(base="python:3.11-slim-bookworm", torch=TorchName.AUTO, torch_index="", client_environment={})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("stages/toy/Dockerfile", "stages/toy/requirements.txt", "constraints.txt", "stages/toy/work.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_the_tag_is_the_environment(root: Path) -> None:
    """It changes with each file and argument that decides what is in the image, and with nothing else."""
    tag = environment_for(root, "toy", SETTINGS, cuda=None).tag
    assert tag.startswith("capillary-toy:")
    (root / "stages/toy/work.py").write_text("code is no part of the image")
    assert environment_for(root, "toy", SETTINGS, cuda=None).tag == tag
    tags = {
        tag,
        environment_for(root, "toy", SETTINGS, cuda=True).tag,
        environment_for(root, "toy", SETTINGS, cuda=False).tag,
    }
    for name in ("stages/toy/Dockerfile", "stages/toy/requirements.txt", "constraints.txt"):
        (root / name).write_text("changed")
        tags.add(environment_for(root, "toy", SETTINGS, cuda=None).tag)
    assert len(tags) == 6


def test_files_cannot_pass_for_one_another(root: Path) -> None:
    """A line that moves from one file's end to the next one's start is a change."""
    first = environment_for(root, "toy", SETTINGS, cuda=None).tag
    (root / "stages/toy/Dockerfile").write_text("stages/toy/Dockerfiles")
    (root / "stages/toy/requirements.txt").write_text("tages/toy/requirements.txt")
    assert environment_for(root, "toy", SETTINGS, cuda=None).tag != first


@pytest.mark.parametrize("name", ["stages/toy/Dockerfile", "stages/toy/requirements.txt", "constraints.txt"])
def test_a_missing_file_is_named(root: Path, name: str) -> None:
    """Before anything is built."""
    (root / name).unlink()
    with pytest.raises(CapillaryError, match="cannot be made without") as caught:
        environment_for(root, "toy", SETTINGS, cuda=None)
    assert name in caught.value.what
    assert caught.value.code == ExitCode.USAGE


def test_the_same_files_and_arguments_give_the_same_tag_everywhere(root: Path, tmp_path: Path) -> None:
    """Wherever the checkout lies, and whatever the stage's other files are."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("elsewhere"))
    assert (
        environment_for(copy, "toy", SETTINGS, cuda=True).tag == environment_for(root, "toy", SETTINGS, cuda=True).tag
    )
    name, digest = environment_for(root, "toy", SETTINGS, cuda=True).tag.split(":")
    assert (name, len(digest)) == ("capillary-toy", 12)
    other = dataclasses.replace(SETTINGS, torch_index="https://torch.example.org")
    assert environment_for(root, "toy", other, cuda=True).tag != environment_for(root, "toy", SETTINGS, cuda=True).tag
    assert environment_for(root, "toy", other, cuda=None).tag == environment_for(root, "toy", SETTINGS, cuda=None).tag


@pytest.mark.parametrize(
    ("cuda", "torch"),
    [
        (None, []),
        (True, ["--build-arg", "TORCH=cuda", "--build-arg", "TORCH_INDEX=https://t"]),
        (False, ["--build-arg", "TORCH=cpu", "--build-arg", "TORCH_INDEX=https://t"]),
    ],
)
def test_the_build_command_is_the_environment_s(root: Path, cuda: bool | None, torch: list[str]) -> None:
    """Its Dockerfile and stage, the checkout as context, labels for cleaning up, and the tag."""
    settings = dataclasses.replace(SETTINGS, torch_index="https://t")
    environment = environment_for(root, "toy", settings, cuda=cuda)
    argv = environment.build_argv()
    assert argv[:3] == ["docker", "build", "--progress"]
    assert argv[4:] == [
        *("--build-arg", "BASE=python:3.11-slim-bookworm"),
        *torch,
        *("--label", "capillary.environment=toy", "--label", f"capillary.project={root}"),
        *("--file", f"{root}/stages/toy/Dockerfile", "--target", "runtime", "--tag", environment.tag, str(root)),
    ]


@pytest.mark.parametrize(
    ("requirements", "holds"),
    [("numpy==1\ntorch==2.9\n", True), ("torchio==1\n", False), ("numpy==1\n# torch==2\n", False), (None, False)],
)
def test_a_stage_holds_torch_when_it_requires_it(root: Path, requirements: str | None, holds: bool) -> None:
    """One without requirements holds nothing."""
    file = root / "stages/toy/requirements.txt"
    file.unlink() if requirements is None else file.write_text(requirements)
    assert holds_torch(root, "toy") is holds


def test_the_build_command_holds_no_secret() -> None:
    """Its words are the environment's files and arguments; variables stay in the environment."""
    secret = ImageSettings(base="b", torch=TorchName.CPU, torch_index="", client_environment={"TOKEN": "s3cr3t"})
    argv = environment_for(REPOSITORY, "train", secret, cuda=False).build_argv()
    assert "s3cr3t" not in " ".join(argv)
    assert "TORCH=cpu" in argv
    assert argv[-1] == str(REPOSITORY)
