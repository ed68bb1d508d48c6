"""The proxy that the variables name: it can be reached, and servers nearby are not asked through it."""

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from requests.utils import should_bypass_proxies

from capillary.lifetimes.bounded import LIMIT_S
from stages.common.preflight.check import Check, missed, passed

NAME = "proxy"
_WANTED = "reachable, and not used for servers nearby"
_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


def check_proxy(variables: Mapping[str, str], servers: Iterable[str]) -> list[Check]:
    """`servers` are the URLs that this project talks to. One check where all is well, else one for each fault."""
    named = {name: variables[name] for upper in _VARIABLES for name in (upper, upper.lower()) if variables.get(name)}
    if not named:
        return [passed(NAME, "none is set", _WANTED)]
    faults = [*_unreachable(named), *_nearby(named, variables, servers)]
    return faults or [passed(NAME, ", ".join(named), _WANTED)]


def _unreachable(named: Mapping[str, str]) -> Iterator[Check]:
    places: dict[tuple[str, int], list[str]] = {}
    for name, url in named.items():
        if (place := _place(url)) is None:
            yield missed(NAME, f"{name} is not an address", _WANTED, f"write {name}=http://host:port", critical=True)
        else:
            places.setdefault(place, []).append(name)
    for (host, port), names in places.items():
        if not _answers(host, port):
            value = f"{host}:{port} ({', '.join(names)}) cannot be reached"
            remedy = f"correct {' and '.join(names)}, or unset them if there is no proxy"
            yield missed(NAME, value, _WANTED, remedy, critical=True)


def _place(url: str) -> tuple[str, int] | None:
    """Host and port of a proxy, which may be written without a scheme; a login in it is never shown."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or _PORTS.get(parts.scheme, 3128)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname else None


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=LIMIT_S).close()
    except OSError:
        return False
    return True


def _nearby(named: Mapping[str, str], variables: Mapping[str, str], servers: Iterable[str]) -> Iterator[Check]:
    """A proxy answers for a server of this machine or network with its own error, or not at all."""
    exempt = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
    for url in servers:
        host, scheme = urlsplit(url).hostname or "", urlsplit(url).scheme
        through = any(name.upper() in (f"{scheme.upper()}_PROXY", "ALL_PROXY") for name in named)
        if through and is_near(host) and not should_bypass_proxies(url, no_proxy=exempt or " "):
            remedy = f"set NO_PROXY={','.join(filter(None, [exempt, host]))} in .env and in the environment"
            yield missed(
                NAME, f"{host} is nearby, but requests to it go through the proxy", _WANTED, remedy, critical=True
            )


def is_near(host: str) -> bool:
    """This machine, a private network, or a name without a domain, such as a service of compose."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".localhost", ".internal"))
    return address.is_private or address.is_loopback
