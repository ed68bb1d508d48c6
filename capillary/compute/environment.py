"""Where this program runs: local | docker | cloud | ci, decided by a pure function on a view of the machine.

The order is that of what matters most to a run: CI comes first, because a job's limits and life are the runner's; a pod
counts as the cloud although it is a container; a container on a rented machine is a container.
"""

import http.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stages.common.machine.container import container_sign, text_of

METADATA_ADDRESS = ("169.254.169.254", 80)  # the same at AWS, GCP, Azure, OpenStack, Oracle, DigitalOcean
METADATA_TIMEOUT_S = 0.2
DMI_FOLDER = "sys/class/dmi/id"
DMI_NAMES = ("sys_vendor", "product_name", "bios_vendor", "chassis_asset_tag")
# what a firmware says on rented machines only
CLOUD_MARKS = {
    "amazon ec2": "Amazon EC2",
    "google compute engine": "Google Compute Engine",
    "7783-7084-3265-9085-8269-3286-77": "Microsoft Azure",
    "oraclecloud.com": "Oracle Cloud",
    "alibaba cloud": "Alibaba Cloud",
    "digitalocean": "DigitalOcean",
    "hetzner": "Hetzner",
    "scaleway": "Scaleway",
    "vultr": "Vultr",
}
# what it says of virtual machines anywhere: there the metadata service is asked
VIRTUAL_MARKS = ("openstack", "virtual machine", "xen", "kvm", "qemu", "bochs")


class EnvironmentName(StrEnum):
    """Kinds of places."""

    LOCAL = "local"
    DOCKER = "docker"
    CLOUD = "cloud"
    CI = "ci"


@dataclass(frozen=True, kw_only=True)
class EnvironmentSignals:
    """The signals: environment variables, the sign of a container, firmware texts."""

    variables: Mapping[str, str]
    container: str | None = None
    dmi: tuple[str, ...] = ()
    metadata_answers: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The kind of place, the signal that decided, and whether it is a container as well (a pod, a CI job may be)."""

    name: EnvironmentName
    reason: str
    in_container: bool


def detect_environment(seen: EnvironmentSignals) -> Environment:
    """The environment that `seen` describes. The metadata service is asked last, and only of a virtual machine."""
    in_container = seen.container is not None
    if seen.variables.get("CI", "").lower() not in {"", "0", "false", "no"}:
        return Environment(name=EnvironmentName.CI, reason=f"CI={seen.variables['CI']}", in_container=in_container)
    if "KUBERNETES_SERVICE_HOST" in seen.variables:
        reason = "KUBERNETES_SERVICE_HOST is set: a pod"
        return Environment(name=EnvironmentName.CLOUD, reason=reason, in_container=True)
    if seen.container is not None:
        return Environment(name=EnvironmentName.DOCKER, reason=seen.container, in_container=True)
    if cloud := _cloud_sign(seen):
        return Environment(name=EnvironmentName.CLOUD, reason=cloud, in_container=False)
    return Environment(name=EnvironmentName.LOCAL, reason="no sign of CI, a container or a cloud", in_container=False)


def read_environment_signals(
    variables: Mapping[str, str], root: Path = Path("/"), metadata: tuple[str, int] = METADATA_ADDRESS
) -> EnvironmentSignals:
    """The signals of the machine whose file system is at `root`."""
    return EnvironmentSignals(
        variables=variables,
        container=container_sign(root),
        dmi=tuple(text for name in DMI_NAMES if (text := text_of(root / DMI_FOLDER / name).strip())),
        metadata_answers=lambda: answers(metadata),
    )


def answers(address: tuple[str, int], timeout_s: float = METADATA_TIMEOUT_S) -> bool:
    """Whether an HTTP server answers at `address`, whatever it answers (EC2 refuses a question without a token)."""
    connection = http.client.HTTPConnection(*address, timeout=timeout_s)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _cloud_sign(seen: EnvironmentSignals) -> str | None:
    firmware = " | ".join(seen.dmi).lower()
    if mark := next((mark for mark in CLOUD_MARKS if mark in firmware), None):
        return f"the firmware says {CLOUD_MARKS[mark]}"
    if any(mark in firmware for mark in VIRTUAL_MARKS) and seen.metadata_answers():
        return "a virtual machine whose metadata service answers"
    return None
