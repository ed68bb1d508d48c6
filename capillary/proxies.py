"""Proxies that the environment or .env names: how image builds reach package indexes through them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote

from capillary.loopback import leads_here

_ADDRESSES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY")
# Docker knows these build arguments without an ARG, and keeps them out of layers, history and cache keys
PROXY_VARIABLES = tuple(name for upper in (*_ADDRESSES, "NO_PROXY") for name in (upper, upper.lower()))
HIDDEN = "***"


def proxy_names(variables: Mapping[str, str]) -> list[str]:
    """Those of the proxy variables that are set."""
    return [name for name in PROXY_VARIABLES if variables.get(name)]


def loopback_proxies(variables: Mapping[str, str]) -> list[str]:
    """Names of variables whose proxy listens on a loopback address: a build's own network does not reach it."""
    named = (name for name in proxy_names(variables) if name.upper() in _ADDRESSES)
    return [name for name in named if _at_loopback(variables[name])]


def credentials_in(values: Iterable[str]) -> list[str]:
    """What of the URLs `values` must not be shown: user and password, raw and decoded. The longest come first."""
    raw = {part for value in values for part in _secret_parts(value)}
    return sorted(raw | {unquote(part) for part in raw}, key=len, reverse=True)


def without(credentials: Iterable[str], text: str) -> str:
    """`text` without `credentials`."""
    for each in credentials:
        text = text.replace(each, HIDDEN)
    return text


def _secret_parts(url: str) -> Iterator[str]:
    """By the signs alone: a password is a secret in an address that nothing can read, too."""
    place = url.rpartition("://")[2]
    host = place.split("/")[0]
    if "@" not in host and re.search(r":(?!\d*$)", host):  # no port: a password that holds a slash
        host = place
    userinfo = host.rpartition("@")[0]
    user, _, password = userinfo.partition(":")
    if userinfo:
        yield userinfo
        yield password or user  # a token may be in the place of the user


def _at_loopback(url: str) -> bool:
    """curl, pip and apt take a proxy without a scheme, too (`127.0.0.1:3128`)."""
    return leads_here(url if "://" in url else f"//{url}")
