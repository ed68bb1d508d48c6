"""What a stage may reach through sockets."""

import os
import socket
from typing import Any, NamedTuple

BIND = "socket.bind"
CONNECTIONS = {"socket.connect", "socket.sendto", "socket.sendmsg", BIND}
LOOK_UPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}
# who may talk to one of these can do anything on the machine
DAEMON_SOCKETS = {"docker.sock", "podman.sock", "containerd.sock", "crio.sock"}
_LOOPBACK_NAMES = {"localhost", "localhost.", "localhost.localdomain", "::1"}
_LOOPBACK_NET = 127


class Refusal(NamedTuple):
    """`<stage> may not <verb> <what>`."""

    verb: str
    what: str


def refuse_connection(event: str, family: int, address: Any, network: str) -> Refusal | None:
    """What a stage with this `network` is told of a connection, a message or a place to listen at; None: continue.

    Sockets between processes are no network, nor is listening at the loopback. A message without an address goes to
    where a connection was made before.
    """
    if family == getattr(socket, "AF_UNIX", None):
        return Refusal("connect to", os.fsdecode(address)) if _is_daemon(address) else None
    if network != "none" or address is None:
        return None
    if event != BIND:
        return Refusal("connect to", str(address))
    return None if _is_loopback(_host_of(address)) else Refusal("listen at", str(address))


def refuse_look_up(host: Any, network: str) -> Refusal | None:
    """What a stage is told that asks for the address of `host`: the question alone leaves the machine."""
    name = _host_of(host)
    if network != "none" or _is_loopback(name) or _is_number(name) or _is_this_machine(name):
        return None
    return Refusal("look up", name)


def _host_of(address: Any) -> str:
    host = address[0] if isinstance(address, tuple) else address
    return os.fsdecode(host) if isinstance(host, str | bytes) else ""


def _is_daemon(address: Any) -> bool:
    if not isinstance(address, str | bytes) or os.fsdecode(address)[:1] in ("", "\0"):
        return False
    places = (os.fsdecode(address), os.path.realpath(os.fsdecode(address)))
    return any(os.path.basename(place) in DAEMON_SOCKETS for place in places)


def _is_loopback(host: str) -> bool:
    """No name that merely begins like one: 127.example.org is asked of a server elsewhere."""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return socket.inet_pton(socket.AF_INET, host)[0] == _LOOPBACK_NET
    except OSError:
        return False


def _is_number(host: str) -> bool:
    """Whether `host` is an address already (or empty: any), so that nobody is asked. Only IPv6 knows a zone."""
    for family, address in ((socket.AF_INET, host), (socket.AF_INET6, host.partition("%")[0])):
        try:
            socket.inet_pton(family, address)
        except OSError:
            continue
        return True
    return host == ""


def _is_this_machine(host: str) -> bool:
    name = os.uname().nodename
    return host in (name, name.partition(".")[0])
