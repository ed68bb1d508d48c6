"""The compose services that an experiment needs on this machine: started when they do not answer, never stopped."""

import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from capillary.settings import Settings
from stages.common.errors import ServiceError
from stages.common.progress import say

THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
HEALTHY_WITHIN_S = 180
ANSWERS_WITHIN_S = 2.0


def start_services(root: Path, settings: Settings, docker_profile: str) -> None:
    """Start MLflow with what its profile adds, if MLFLOW_TRACKING_URI names this machine and nothing listens there.

    The embedded store needs no service, and another machine's server is not ours to start. Raises ServiceError when
    the services are not healthy in time.
    """
    uri = urlsplit(settings.variables.get("MLFLOW_TRACKING_URI", ""))
    if docker_profile == "none" or uri.scheme not in ("http", "https") or uri.hostname not in THIS_MACHINE:
        return
    port = uri.port or {"http": 80, "https": 443}[uri.scheme]
    if not _listens(uri.hostname, port):
        up(root, docker_profile)


def up(root: Path, docker_profile: str) -> None:
    """`docker compose up`, until every service of the profile is healthy."""
    if shutil.which("docker") is None:
        raise ServiceError(
            "the services cannot be started: there is no docker command",
            remedy="install Docker, or unset MLFLOW_TRACKING_URI: runs are then kept in mlruns/mlflow.db",
        )
    say("starting services (docker compose up)")
    profile = () if docker_profile == "dev" else ("--profile", docker_profile)
    argv = ["docker", "compose", *profile, "up", "--detach", "--wait", "--wait-timeout", str(HEALTHY_WITHIN_S)]
    if subprocess.run(argv, cwd=root, check=False).returncode:
        raise ServiceError(
            f"the services of the profile `{docker_profile}` did not become healthy within {HEALTHY_WITHIN_S} s",
            file=root / "docker-compose.yml",
            remedy="look at `docker compose ps` and `docker compose logs`; docs/compose.md names what .env must hold",
        )


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), ANSWERS_WITHIN_S):
            return True
    except OSError:
        return False
