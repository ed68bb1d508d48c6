"""GPUs that the daemon can give to containers, and which of them a stage gets."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import docker
from docker.errors import APIError, ImageNotFound

from capillary.executors.container.daemon import plain_errors
from capillary.lifetimes.stop import Stop
from stages.common.errors import CapillaryError, MachineError
from stages.common.machine.gpus import DRIVER_FILE, SMI_ARGUMENTS, DriverBrokenError, Gpu, parse_smi
from stages.common.program.messages import get_logger

log = get_logger(__name__)

POLL_S = 2.0
Container = TypeVar("Container")


def find_gpus(api: docker.APIClient, base_image: str) -> tuple[Gpu, ...]:
    """The GPUs that this daemon gives to containers; none when it cannot.

    Asks in a container of `base_image`, since the launcher may itself run in one that has no GPU: NVIDIA's toolkit
    puts nvidia-smi into any container that is given GPUs.
    """
    with plain_errors("tell about its machine"):
        info = api.info()
    if not (DRIVER_FILE.exists() or "nvidia" in info.get("Runtimes", {}) or info.get("DiscoveredDevices")):
        return ()
    with plain_errors("look for GPUs"):
        try:
            api.inspect_image(base_image)
        except ImageNotFound:
            api.pull(base_image)
        request = {"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu", "utility"]]}
        container = api.create_container(
            base_image,
            entrypoint=["nvidia-smi"],
            command=list(SMI_ARGUMENTS),
            host_config={**api.create_host_config(network_mode="none"), "DeviceRequests": [request]},
        )["Id"]
    try:
        api.start(container)
        api.wait(container, timeout=60)
        return parse_smi(api.logs(container, stdout=True, stderr=False).decode())
    except (APIError, DriverBrokenError):
        return ()  # no toolkit: "could not select device driver", no nvidia-smi in it, or one that finds no driver
    finally:
        with contextlib.suppress(APIError):
            api.remove_container(container, force=True)


def refuse_no_gpu(address: str) -> CapillaryError:
    """What a stage that requires a GPU says if there is none."""
    return MachineError(
        f"{address} requires a GPU (gpu: required in configs/stages.yaml), and containers get none on this machine",
        remedy="install the NVIDIA driver and Container Toolkit, free a GPU in CAPILLARY_GPUS, or set gpu: auto",
    )


def container_name(gpu: Gpu) -> str:
    """The name of the one container that holds `gpu`: the daemon refuses a second, whoever asks."""
    return f"capillary-on-{gpu.uuid}"


def take_free(
    gpus: Sequence[Gpu], create: Callable[[Gpu], Container | None], address: str, stop: Stop
) -> Container | None:
    """A container that `create` made for the first free one of `gpus`; waits while all are taken.

    `create` returns None when the container's name, and with it the GPU, is taken. None when asked to stop.
    """
    said = False
    while stop.asked is None:
        for gpu in gpus:
            if container := create(gpu):
                log.info(f"{address} runs on GPU {gpu.index} ({gpu.name})")
                return container
        if not said:
            log.info(f"{address} waits for a free GPU; capillary ps shows which stages use them")
            said = True
        time.sleep(POLL_S)
    return None
