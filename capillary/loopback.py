"""Whether a server's address leads to this machine alone."""

import ipaddress
import re
import socket


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


def leads_here(host: str) -> bool:
    """Whether who connects to `host` reaches this machine's loopback: by `0.0.0.0`, too, which servers print."""
    return is_loopback(host) or host in {"0.0.0.0", "::"}  # noqa: S104 - nothing listens there
