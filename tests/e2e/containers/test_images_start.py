"""The images that no other test runs: the service's, the whole experiment's and the DevContainer's build and start."""

import subprocess
import time

import pytest

from tests.support.docker.containers import client
from tests.support.docker.images import build, docker_run

pytestmark = pytest.mark.slow


def test_the_release_image_knows_its_arguments_and_its_configs() -> None:
    """It has code, configs and the entry point's own modules; 2 is the exit code of what cannot be run as asked."""
    image, _ = build("Dockerfile.release")
    shown = docker_run("--network=none", image, "--help")
    assert (shown.returncode, "--config" in shown.stdout) == (0, True), shown.stderr
    refused = docker_run("--network=none", image, "--config", "configs/experiments/nowhere.yaml")
    assert refused.returncode == 2, refused.stderr
    assert "there is no experiment file configs/experiments/nowhere.yaml" in refused.stderr
    assert "configs/experiments/smoke.yaml" in refused.stderr


def test_the_service_s_image_answers() -> None:
    """Its own health check passes: `/healthz` answers, whether or not there is a model."""
    image, _ = build("serving/Dockerfile")
    container = client().containers.run(
        image, detach=True, network_mode="none", environment={"CAPILLARY_SERVE_OPEN": "yes"}
    )
    try:
        check = ["docker", "exec", str(container.id), "python", "-P", "-S", "-m", "serving.healthy"]
        while subprocess.run(check, check=False, capture_output=True).returncode != 0:
            container.reload()
            assert container.status == "running", container.logs().decode()
            time.sleep(0.1)
    finally:
        container.remove(force=True)


def test_the_devcontainer_s_image_has_its_programs() -> None:
    """Behind the entry point, without a socket and a workspace."""
    image, _ = build(".devcontainer/Dockerfile")
    done = docker_run("--network=none", image, "sh", "-c", "git --version && direnv version && docker compose version")
    assert done.returncode == 0, done.stderr
    assert "Docker Compose" in done.stdout
