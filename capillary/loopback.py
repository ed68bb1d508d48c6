"""Whether a server's address leads to this machine alone."""

import ipaddress
import re
import socket
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """`host` is a name or an address, without a port.

    Names that merely begin like a loopback address, such as 127.example.org, are anybody's.
    """
    name = host.lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(socket.inet_aton(name) if re.fullmatch(r"[\d.]+", name) else name)
    except (ValueError, OSError):
        return name == "localhost" or name.endswith(".localhost")
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def leads_here(url: str) -> bool:
    """Whether `url` leads to this machine's loopback. So does `0.0.0.0`, which servers print as their address."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return is_loopback(host) or host in {"0.0.0.0", "::"}  # noqa: S104 - nothing listens there
