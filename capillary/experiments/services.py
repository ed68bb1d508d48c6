"""The compose services on this machine: MLflow, and with the profile `team` PostgreSQL and an S3 store.

An experiment starts those that do not answer and never stops one; `capillary up`, `down` and `logs` are for people.
"""

import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from capillary.experiments.service_memory import settle_memory
from capillary.settings import Settings, read_settings
from stages.common.errors import ServiceError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

DEV, TEAM = "dev", "team"  # MLflow on SQLite; on PostgreSQL and an S3 store, which a team shares
EVERY_PROFILE = ("--profile", TEAM)  # with it Compose sees all services, whatever .env chooses
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
HEALTHY_WITHIN_S = 180
ANSWERS_WITHIN_S = 2.0
STOPPED_BY_USER = {128 + signal.SIGINT, -signal.SIGINT}


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
    """Start the services of the profile and wait until each is healthy. Raises ServiceError when one is not."""
    settle_memory(root, read_settings(root))
    log.info("starting services (docker compose up)")
    profile = () if docker_profile == DEV else ("--profile", docker_profile)
    argv = [*profile, "up", "--detach", "--wait", "--wait-timeout", str(HEALTHY_WITHIN_S)]
    if _uninterrupted(_compose(root, argv)):
        raise ServiceError(
            f"the services of the profile `{docker_profile}` did not become healthy within {HEALTHY_WITHIN_S} s",
            file=root / "docker-compose.yml",
            remedy="see `docker compose ps` and `./just logs`; docs/compose.md says what .env needs",
        )
    port = read_settings(root).variables.get("MLFLOW_PORT", "5000")
    log.info(f"the services are healthy; MLflow is at http://127.0.0.1:{port}")


def down(root: Path) -> None:
    """Stop and remove the services of every profile; their volumes stay. Raises ServiceError when Compose cannot."""
    if _uninterrupted(_compose(root, [*EVERY_PROFILE, "down"])):
        raise ServiceError(
            "the services could not be stopped",
            file=root / "docker-compose.yml",
            remedy="see Docker Compose's message above; `docker compose ps` shows what is still running",
        )
    log.info("the services are stopped; their volumes keep runs, models and files, which `./just up` brings back")
    log.info(f"to delete all of it permanently: docker compose {' '.join(EVERY_PROFILE)} down --volumes")


def logs(root: Path, names: Sequence[str]) -> int:
    """Follow the logs of the services `names`, or of all, until Ctrl-C; returns the exit code."""
    code = _compose(root, [*EVERY_PROFILE, "logs", "--follow", "--tail", "100", *names])
    return 0 if code in STOPPED_BY_USER else code


def _compose(root: Path, argv: Sequence[str]) -> int:
    """Run `docker compose`, of which the user sees everything; its exit code. Raises ServiceError without Docker."""
    if shutil.which("docker") is None:
        raise ServiceError(
            "the services need Docker, and there is no docker command",
            remedy="install Docker, or unset MLFLOW_TRACKING_URI: runs are then kept in mlruns/mlflow.db",
        )
    log.debug(f"runs docker compose {shlex.join(argv)}")
    process = subprocess.Popen(["docker", "compose", *argv], cwd=root)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # it ends in its own way, also where no terminal has told it


def _uninterrupted(code: int) -> int:
    if code in STOPPED_BY_USER:
        raise KeyboardInterrupt
    return code


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), ANSWERS_WITHIN_S):
            return True
    except OSError:
        return False
