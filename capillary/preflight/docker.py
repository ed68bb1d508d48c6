"""Docker: the daemon answers where containers are asked for, gives GPUs to them, and has room for images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker

from capillary.executors.container import gpus
from capillary.executors.container.daemon import connect, plain_errors
from capillary.settings import ExecutorName, Settings
from stages.common.errors import ServiceError
from stages.common.machine.gpus import Gpu
from stages.common.preflight.check import Check, missed, passed, warned
from stages.common.preflight.checks.disk import check_disk
from stages.common.preflight.params import DiskParams
from stages.common.runtime import NOTHING_KNOWN, Need
from stages.common.text import counted

_TOOLKIT = (
    "install the NVIDIA Container Toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker && "
    "sudo systemctl restart docker"
)
_NO_PODMAN = "Podman hands no GPU to stages: set CAPILLARY_EXECUTOR to docker, apptainer or process (docs/engines.md)"


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A daemon that answers. `gpus` are those that it gives to containers."""

    api: docker.APIClient
    info: dict[str, Any]
    gpus: tuple[Gpu, ...]


def find_daemon(settings: Settings) -> Daemon | ServiceError | None:
    """The daemon that stages will run on; the reason where there should be one, None if none is wanted."""
    found = reach_daemon(settings)
    if not isinstance(found, Daemon):
        return found
    return replace(found, gpus=gpus.find_gpus(found.api, settings.images.base))


def reach_daemon(settings: Settings) -> Daemon | ServiceError | None:
    """As `find_daemon`, without a look at GPUs, which costs a container."""
    if settings.executor in {ExecutorName.PROCESS, ExecutorName.APPTAINER}:
        return None
    try:
        api = connect(settings.variables, settings.executor)
    except ServiceError as error:
        return error
    with plain_errors("tell about itself"):
        return Daemon(api=api, info=api.info(), gpus=())


def check_docker(found: Daemon | ServiceError | None, executor: ExecutorName, *, critical: bool) -> Check:
    """A daemon that does not answer is a failure where `executor` takes nothing else."""
    asked_for = executor in {ExecutorName.DOCKER, ExecutorName.PODMAN}
    if found is None:
        return passed("docker", f"not used: CAPILLARY_EXECUTOR={executor}")
    if isinstance(found, ServiceError):
        if asked_for:
            return missed("docker", found.what, "the daemon answers", found.remedy, critical=critical)
        value = "no daemon answers: stages run as plain processes"
        return warned("docker", value, "a daemon, for containers", found.remedy)
    return passed("docker", f"{found.info['ServerVersion']} answers", "the daemon answers", critical=asked_for)


def check_docker_gpus(
    daemon: Daemon, devices: Sequence[Gpu], executor: ExecutorName = ExecutorName.DOCKER, *, required: bool
) -> Check:
    """`devices` are the machine's own GPUs, as far as this process sees them."""
    if daemon.gpus:
        names = ", ".join(f"{gpu.name} ({gpu.index})" for gpu in daemon.gpus)
        return passed("docker gpu", names, "containers get them", critical=required)
    if not devices:
        return passed("docker gpu", "there is no GPU to give to containers")
    value = f"containers get none of this machine's {counted(len(devices), 'GPU')}"
    remedy = _NO_PODMAN if executor is ExecutorName.PODMAN else _TOOLKIT
    return missed("docker gpu", value, "containers get them", remedy, critical=required)


def check_docker_disk(daemon: Daemon, disk: DiskParams, need: Need = NOTHING_KNOWN) -> list[Check]:
    """Room for images; nothing if the daemon's data is on another machine."""
    root = Path(daemon.info.get("DockerRootDir") or "/nonexistent")
    if not root.is_dir():
        return []
    remedy = "docker system df shows what fills it; capillary clean --images and docker system prune make room"
    least_gb, _ = need.least(disk.min_free_docker_gb, "docker_gb")
    why = "images to build" if least_gb > disk.min_free_docker_gb else ""
    return [check_disk("docker", root, least_gb, remedy, critical=disk.critical, why=why, write=False)]
