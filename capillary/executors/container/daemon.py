"""The Docker daemon: connecting to it, and its errors in plain words."""

import contextlib
from collections.abc import Iterator, Mapping

import docker
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound, TLSParameterError
from docker.utils import kwargs_from_env
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ReadTimeout

from capillary.executors.container.podman import service as podman
from capillary.settings import ExecutorName
from stages.common.errors import CapillaryError, MachineError, ServiceError

# for answers; what takes longer (streams, waiting) has no limit
TIMEOUT_S = 60


def connect(variables: Mapping[str, str], executor: ExecutorName = ExecutorName.AUTO) -> docker.APIClient:
    """A client of the daemon that DOCKER_HOST names, or the current docker context, or the usual socket; of Podman's
    service where `executor` is that.

    Raises ServiceError when it does not answer.
    """
    if executor is ExecutorName.PODMAN:
        variables = podman.with_address(variables)
    try:
        options = kwargs_from_env(environment=dict(variables))
        if "base_url" not in options and (context := ContextAPI.get_current_context()):
            options = {"base_url": context.Host, "tls": context.TLSConfig or False}
        return docker.APIClient(**options, version="auto", timeout=TIMEOUT_S)
    except (DockerException, TLSParameterError) as error:
        raise ServiceError(
            "the Docker daemon does not answer",
            value=str(error),
            remedy="start it (Docker Desktop, or: systemctl start docker), or give your user access to its socket "
            "(docs/docker-socket.md); without it stages run as plain processes: CAPILLARY_EXECUTOR=process",
        ) from error


@contextlib.contextmanager
def plain_errors(what: str) -> Iterator[None]:
    """In the block an error of the daemon becomes a CapillaryError; `what` was being tried (`run train@dice_ce-0`)."""
    try:
        yield
    except (RequestsConnectionError, ReadTimeout) as error:
        raise daemon_gone(what) from error
    except ImageNotFound as error:
        raise MachineError(
            f"Docker could not {what}: its image is missing",
            value=error.explanation,
            remedy="run ./just build, which builds the images of all stages, then repeat",
        ) from error
    except APIError as error:
        raise explain(str(error.explanation or error), what) from error


def daemon_gone(what: str) -> ServiceError:
    """The daemon stopped answering in the middle of `what`."""
    return ServiceError(
        f"the Docker daemon stopped answering while it was asked to {what}",
        remedy="start it (Docker Desktop, or: systemctl start docker), then repeat the same command: finished stages "
        "are kept, and a training resumes from its last checkpoint",
    )


def explain(message: str, what: str) -> CapillaryError:
    """The daemon's refusal, with the remedy for those that users meet."""
    remedies = {
        "could not select device driver": "there is no GPU for containers: install the NVIDIA Container Toolkit, or "
        "set gpu: auto in configs/stages.yaml to train on the CPU",
        "no space left on device": "the disk with Docker's data is full: docker system df shows what fills it; "
        "capillary clean --images and docker system prune make room; then repeat",
        "bind source path does not exist": "the daemon sees other files than this process, for example because it runs "
        "on another machine; run this on that machine, or set CAPILLARY_EXECUTOR=process",
        "Minimum memory limit": "raise memory_gb in configs/stages.yaml",
        "is not running": "the container that runs dvc was stopped in the meantime; repeat",
    }
    remedy = next((text for part, text in remedies.items() if part.lower() in message.lower()), None)
    return MachineError(
        f"Docker could not {what}",
        value=message,
        remedy=remedy or "read the daemon's message above; docs/docker-socket.md lists the usual causes",
    )
