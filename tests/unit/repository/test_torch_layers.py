"""What the Dockerfiles with torch do with a build of torch for another CUDA than the pinned one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.parts import REPOSITORY

DOCKERFILES = ["stages/train/Dockerfile", "stages/evaluate/Dockerfile", "Dockerfile.release"]


def _script(dockerfile: str, first: str) -> str:
    """The shell script of the RUN that begins with `first`."""
    text = (REPOSITORY / dockerfile).read_text().replace("\\\n", "")
    found = re.search(rf"^RUN ({re.escape(first)}.*)$", text, re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
@pytest.mark.parametrize(("cuda", "is_pinned"), [("", True), ("13.0", True), ("12.6", False)])
def test_another_cuda_brings_its_own_packages(tmp_path: Path, dockerfile: str, cuda: str, is_pinned: bool) -> None:
    """torch pins them to the bit; the constraints of the usual one would make pip take that instead."""
    former = (REPOSITORY / "constraints.txt").read_text().splitlines()
    shutil.copy(REPOSITORY / "constraints.txt", tmp_path)
    script = _script(dockerfile, 'case "$(sed').replace("/tmp/", f"{tmp_path}/")
    subprocess.run(["sh", "-ec", script], env={"PATH": "/usr/bin:/bin", "TORCH_CUDA": cuda}, check=True)
    left = (tmp_path / "constraints.txt").read_text().splitlines()
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


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
@pytest.mark.parametrize(
    ("torch", "wanted", "came", "said"),
    [
        ("cpu", "", "cpu", ""),
        ("cuda", "", "13.0", ""),
        ("cuda", "12.6", "12.6", ""),
        ("cuda", "12.6", "13.0", "torch for CUDA 12.6 was asked for, but came with CUDA 13.0"),
        ("cuda", "12.6", "cpu", "torch came without CUDA"),
    ],
)
def test_an_index_that_lacks_the_build_fails_the_image(
    tmp_path: Path, dockerfile: str, torch: str, wanted: str, came: str, said: str
) -> None:
    """pip takes the usual one from its own index in silence, which the driver would refuse hours later."""
    (tmp_path / "python").write_text(f"#!/bin/sh\necho {came}\n")
    (tmp_path / "python").chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TORCH": torch, "TORCH_CUDA": wanted}
    script = _script(dockerfile, "build=$(python")
    done = subprocess.run(["sh", "-c", script], env=variables, check=False, capture_output=True, text=True)
    assert (done.returncode != 0) is bool(said)
    assert said in done.stderr
    if wanted and came not in {"cpu", wanted}:
        assert "correct CAPILLARY_TORCH_INDEX_CU126" in done.stderr


def test_compose_builds_the_service_with_the_index_of_cpu_builds() -> None:
    """It computes on a CPU: without this secret its image on Linux would hold CUDA, several GB."""
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    build = compose["services"]["serve"]["build"]
    assert build["secrets"] == ["torch_index"]
    assert compose["secrets"] == {"torch_index": {"environment": "CAPILLARY_TORCH_INDEX_CPU"}}
    assert build["args"]["TORCH_INDEX_ID"] == "${CAPILLARY_TORCH_INDEX_CPU:+set}"
    assert build["args"].keys() > compose["services"]["mlflow"]["build"]["args"].keys()
