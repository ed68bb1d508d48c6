"""A job that runs on several nodes: where their launchers meet, and which exit code they add up to.

The first node leads: it runs the gates, keeps the outs and writes how the job ended. The others run the same stage
without outs (peer.py). Each has a folder in the job's, since not every shared file system has locks across nodes.
"""

import os
import platform
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import psutil

from capillary.lifetimes.stop import Stop
from capillary.places.outcome import read_ended
from stages.common.errors import ExitCode
from stages.common.runtime import Rendezvous

NODES = "nodes"
# what the others may take to notice that the stage has ended on the first node, and to say how it ended on theirs
PATIENCE_S = 20.0
_POLL_S = 0.2
# what a stage says of itself, as opposed to what became of it
_FORESEEN = frozenset({*range(ExitCode.USAGE, ExitCode.RANK_LOST)})


class Others(Protocol):
    """The other nodes of a job, as the first one sees them."""

    def start(self, stop: Stop) -> Rendezvous:
        """Start them. If one of them fails, `stop` is asked."""

    def joined(self, code: int) -> int:
        """The exit code of all nodes after the stage ended with `code` here. Waits until the others have ended."""


class StartedElsewhere:
    """Nodes that are started by whatever started this one."""

    def __init__(self, folder: Path, nodes: int, host: str, port: int) -> None:
        self._folder, self._nodes = folder, nodes
        self._host, self._port = host, port

    def start(self, _stop: Stop) -> Rendezvous:
        """They are running already, or start soon."""
        return rendezvous_of(0, self._host, self._port)

    def joined(self, code: int) -> int:
        """The exit code of all."""
        return code if code == 0 else joint_code(code, wait_for_codes(self._folder, self._nodes))


def peer_folder(folder: Path, node: int) -> Path:
    """The folder of node number `node` in that of the job."""
    return folder / NODES / str(node)


def forget_peers(folder: Path) -> None:
    """Remove what the nodes of an earlier attempt left."""
    shutil.rmtree(folder / NODES, ignore_errors=True)


def wait_for_codes(folder: Path, nodes: int, patience_s: float = PATIENCE_S) -> list[int]:
    """The exit codes of the other nodes that arrive within `patience_s`."""
    deadline = time.monotonic() + patience_s
    while len(codes := _codes(folder, nodes)) < nodes - 1 and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return codes


def joint_code(code: int, others: Sequence[int]) -> int:
    """The exit code of a job whose first node ended with `code`; the other node's, if the first one only lost it."""
    if code != ExitCode.RANK_LOST:
        return code
    return next((other for other in others if other in _FORESEEN), code)


def rendezvous_of(node: int, host: str, port: int) -> Rendezvous:
    """What the stage on node number `node` needs in order to meet the others."""
    return Rendezvous(node=node, host=host, port=port, interface=interface_of(source_towards(host)))


def choose_meeting(other: str) -> tuple[str, int]:
    """(address, port) of this node at which the one at the address `other` can reach it."""
    return source_towards(other) or platform.node(), free_port()


def free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as free:
        free.bind(("", 0))
        port: int = free.getsockname()[1]
        return port


def source_towards(address: str) -> str | None:
    """The IPv4 address from which this machine reaches `address`, or None without a route. Sends no packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect((address, 9))
        except OSError:
            return None
        source: str = way.getsockname()[0]
        return source


def interface_of(address: str | None) -> str | None:
    """The network interface of this machine that has `address`."""
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, own in interfaces if any(each.address == address for each in own)), None)


def _codes(folder: Path, nodes: int) -> list[int]:
    every = [peer_folder(folder, node) for node in range(1, nodes)]
    for place in every:
        if place.is_dir():
            os.listdir(place)  # noqa: PTH208 - NFS asks its server anew when a folder is opened
    return [ended.code for place in every if (ended := read_ended(place)) is not None]
