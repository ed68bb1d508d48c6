"""Ports: those that docker-compose.yml publishes are free, or taken by this project's own services."""

import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import docker
import psutil

from capillary.executors.container.daemon import plain_errors
from capillary.yaml_file import read_yaml
from stages.common.preflight.check import Check, missed, passed

COMPOSE_FILE = "docker-compose.yml"
_PUBLISHED = re.compile(r"^(?P<host>[\d.]+):\$\{(?P<variable>\w+):-(?P<port>\d+)\}:\d+$")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of this machine that compose publishes; `variable` chooses another."""

    service: str
    variable: str
    host: str
    number: int


def published(root: Path, variables: Mapping[str, str]) -> Iterator[Port]:
    """The ports of the services that `docker compose up` would start."""
    file = root / COMPOSE_FILE
    services = read_yaml(file)["services"] if file.is_file() else {}
    profiles = {name.strip() for name in variables.get("COMPOSE_PROFILES", "").split(",")}
    for name, service in services.items():
        if profiles.isdisjoint(service.get("profiles", profiles)):
            continue
        for text in service.get("ports", []):
            if found := _PUBLISHED.match(str(text)):
                number = int(variables.get(found["variable"], found["port"]))
                yield Port(service=name, variable=found["variable"], host=found["host"], number=number)


def check_port(port: Port, owner: str | None, *, wanted: bool, critical: bool) -> Check:
    """`owner` has it now, None: nobody; `wanted`: that is whom this project talks to, or its own service."""
    name, threshold = f"port {port.number}", f"free for {port.service}"
    if owner is None:
        return passed(name, "free", threshold, critical=critical)
    if wanted:
        return passed(name, f"used by {owner}, as it should be", threshold, critical=critical)
    remedy = f"set {port.variable} in .env to a free port, or end the program that has it"
    return missed(name, f"used by {owner}", threshold, remedy, critical=critical)


def check_ports(root: Path, variables: Mapping[str, str], api: docker.APIClient, *, critical: bool) -> Iterator[Check]:
    """A check a published port."""
    host, number = _tracking(variables.get("MLFLOW_TRACKING_URI", ""))
    for port in published(root, variables):
        owner, own = None, False
        if is_busy(port):
            owner, own = _container_on(api, port.number, root) or (program_on(port.number), False)
        in_use = host in _LOOPBACK and number == port.number
        yield check_port(port, owner, wanted=own or in_use, critical=critical)


def _tracking(uri: str) -> tuple[str | None, int | None]:
    """Host and port of the MLflow server; none of an address that is wrong, which its own check says."""
    try:
        parts = urlsplit(uri)
        return parts.hostname, parts.port
    except ValueError:
        return None, None


def is_busy(port: Port) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that just ended does not count
        try:
            trial.bind((port.host, port.number))
        except PermissionError:
            return False  # a port below 1024: the daemon may have it
        except OSError:
            return True
    return False


def program_on(number: int) -> str:
    """Who listens on the port; whose program it is can be seen only by its user and root."""
    try:
        listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        pids = [each.pid for each in listening if each.laddr.port == number and each.pid]
        return f"{psutil.Process(pids[0]).name()} (process {pids[0]})" if pids else "another program"
    except psutil.Error:
        return "another program"


def _container_on(api: docker.APIClient, number: int, root: Path) -> tuple[str, bool] | None:
    """The container that publishes the port, and whether compose started it for this project."""
    with plain_errors("list containers"):
        listed = api.containers(filters={"publish": str(number)})
    for container in listed:
        folder = container["Labels"].get("com.docker.compose.project.working_dir")
        return f"the container {container['Names'][0].lstrip('/')}", folder == str(root)
    return None
