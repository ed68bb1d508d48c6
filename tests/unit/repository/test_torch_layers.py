"""What the images with torch do with a build of torch for another CUDA than the pinned one."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.parts import REPOSITORY

SCRIPT = REPOSITORY / "services/images/torch.sh"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Requirements with torch and the constraints, and a pip that only says what it is asked for."""
    (tmp_path / "requirements.txt").write_text("numpy==2\ntorch==2.13.0\n")
    shutil.copy(REPOSITORY / "constraints.txt", tmp_path)
    _program(tmp_path / "pip", 'echo "pip $@"')
    return tmp_path


def _program(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def _run(command: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    path = {"PATH": f"{folder}:/usr/bin:/bin"}
    argv = ["sh", str(SCRIPT), command, str(folder)]
    return subprocess.run(argv, env={**path, **variables}, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(("cuda", "is_pinned"), [("", True), ("13.0", True), ("12.6", False)])
def test_another_cuda_brings_its_own_packages(folder: Path, cuda: str, is_pinned: bool) -> None:
    """torch pins them to the bit; the constraints of the usual one would make pip take that instead."""
    former = (folder / "constraints.txt").read_text().splitlines()
    done = _run("install", folder, TORCH_CUDA=cuda)
    assert done.stdout == f"pip install -c {folder}/constraints.txt torch\n"
    left = (folder / "constraints.txt").read_text().splitlines()
    removed = [line for line in former if line not in left]
    assert [line for line in former if line in left] == left
    if is_pinned:
        assert removed == []
        return
    assert {"cuda-toolkit", "cuda-bindings", "nvidia-cublas", "nvidia-cudnn-cu13"} <= {
        x.split("==")[0] for x in removed
    }
    assert all(line.startswith(("cuda-", "nvidia-")) for line in removed)
    assert any(line.startswith("nvidia-ml-py==") for line in left)


@pytest.mark.parametrize(
    ("torch", "wanted", "came", "said"),
    [
        ("cpu", "", "cpu", ""),
        ("cuda", "", "13.0", ""),
        ("cuda", "12.6", "12.6", ""),
        ("cuda", "12.6", "13.0", "torch for CUDA 12.6 was asked for, but came with CUDA 13.0"),
        ("cuda", "12.6", "cpu", "torch came without CUDA"),
        ("rocm", "", "cpu", "TORCH is cpu or cuda, not rocm"),
    ],
)
def test_an_index_that_lacks_the_build_fails_the_image(
    folder: Path, torch: str, wanted: str, came: str, said: str
) -> None:
    """pip takes the usual one from its own index in silence, which the driver would refuse hours later."""
    _program(folder / "python", f"echo {came}")
    done = _run("check", folder, TORCH=torch, TORCH_CUDA=wanted)
    assert (done.returncode != 0) is bool(said)
    assert said in done.stderr
    if wanted and came not in {"cpu", wanted}:
        assert "correct CAPILLARY_TORCH_INDEX_CU126" in done.stderr


def test_a_stage_without_torch_gets_none(folder: Path) -> None:
    """Not even asked for; TORCH says nothing of its image."""
    (folder / "requirements.txt").write_text("numpy==2\n")
    for command in ("install", "check"):
        done = _run(command, folder, TORCH="cuda")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_release_image_has_the_first_layers_of_train() -> None:
    """Word for word: who has built the one does not install torch again for the other."""
    texts = [(REPOSITORY / name).read_text() for name in ("stages/Dockerfile", "Dockerfile.release")]
    lines = [[line for line in text.splitlines() if not line.startswith("#")] for text in texts]
    layers = [text[text.index("FROM ${BASE} AS builder") :] for text in lines]
    until = layers[0].index("RUN sh /images/torch.sh check /tmp")
    assert [line.replace("ARG STAGE=train", "ARG STAGE") for line in layers[1]][:until] == layers[0][:until]


def test_compose_builds_the_service_with_the_index_of_cpu_builds() -> None:
    """It computes on a CPU: without this secret its image on Linux would hold CUDA, several GB."""
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    build = compose["services"]["serve"]["build"]
    assert build["secrets"] == ["torch_index"]
    assert compose["secrets"] == {"torch_index": {"environment": "CAPILLARY_TORCH_INDEX_CPU"}}
    assert build["args"]["TORCH_INDEX_ID"] == "${CAPILLARY_TORCH_INDEX_CPU:+set}"
    assert build["args"].keys() > compose["services"]["mlflow"]["build"]["args"].keys()
