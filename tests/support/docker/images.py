"""Images of this repository, built as users build them."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.docker.containers import client
from tests.support.parts import REPOSITORY, command_environment, require

BASE = "python:3.11-slim-bookworm"


def build(dockerfile: str, *options: str, context: Path = REPOSITORY, check: bool = True) -> tuple[str, str]:
    """(id, messages) of the image that `dockerfile` makes; what was built before comes from the cache."""
    client()
    require(shutil.which("docker") is not None, "the docker command")
    environment = {**command_environment(), "DOCKER_BUILDKIT": "1"}
    with tempfile.TemporaryDirectory() as folder:
        image_id = Path(folder, "id")
        # not --quiet, which hides what a failing RUN printed
        shown = ("--progress=plain", f"--iidfile={image_id}", f"--file={context / dockerfile}")
        argv = ["docker", "build", *shown, *options, str(context)]
        done = subprocess.run(argv, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0 or not check, done.stderr
        return image_id.read_text() if done.returncode == 0 else "", done.stderr


def docker_run(*argv: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """`docker run --rm ARGV`, output captured."""
    return subprocess.run(
        ["docker", "run", "--rm", *argv], check=False, capture_output=True, text=True, timeout=timeout_s
    )


def size_mb(image: str) -> float:
    """Size of `image` with its base, in 10⁶ bytes."""
    return float(client().images.get(image).attrs["Size"]) / 1e6
