"""Stacks fetched from a URL: only from listed addresses, never from the service's own network, no redirects."""

import errno
import ipaddress
import shutil
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import urllib3

from serving.failures import Refusal

CHUNK_BYTES = 1 << 20
CONNECT_S = 10.0


def fetch(url: str, allowed: Iterable[str], target: Path, most_bytes: int, most_s: float) -> None:
    """Write what `url` holds to `target`. Blocks; raises Refusal, and leaves no file then.

    `allowed` are beginnings of addresses, such as https://data.example.org/stacks/. The name is looked up once, and
    the connection goes to the address that was judged.
    """
    parts = _judged(url, allowed)
    address = _public_address(parts, named_by_address=is_address(parts.hostname or ""))
    try:
        _download(parts, address, target, most_bytes, time.monotonic() + most_s)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full_disk() from None
        raise Refusal(502, f"the stack could not be fetched: {error}", "check the URL, or upload the stack") from None
    except Refusal:
        target.unlink(missing_ok=True)
        raise


def file_name_of(url: str) -> str:
    """The last part of the URL's path."""
    return urlsplit(url).path.rpartition("/")[2]


def _judged(url: str, allowed: Iterable[str]) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refusal(422, "the URL cannot be read", "send one such as https://host/stack.tif") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or port == 0:
        raise Refusal(422, "the URL is not a plain http or https address", "send one such as https://host/stack.tif")
    if ".." in parts.path or "\\" in url or "%2e" in url.lower() or "%2f" in url.lower():
        raise Refusal(422, "the URL's path contains parts such as ..", "send the address as the server has it")
    if not any(_is_below(parts, urlsplit(each)) for each in allowed):
        raise Refusal(
            403, "stacks may not be fetched from this address", "ask for it to be added to CAPILLARY_SERVE_URLS"
        )
    return parts


def _is_below(parts: SplitResult, allowed: SplitResult) -> bool:
    """Whether `parts` begins as `allowed` does: scheme, host, port, and whole parts of the path."""
    folder = allowed.path if allowed.path.endswith("/") else f"{allowed.path}/"
    same_server = (parts.scheme, parts.hostname, parts.port) == (allowed.scheme, allowed.hostname, allowed.port)
    return same_server and (parts.path.startswith(folder) or folder == "/")


def is_address(name: str) -> bool:
    """Whether a host's `name` is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _public_address(parts: SplitResult, *, named_by_address: bool) -> str:
    """The address to connect to. One that the list names as a number may be private, a name may not lead to one."""
    try:
        found = socket.getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Refusal(502, f"the name of the server is not known: {error}", "check the URL") from None
    addresses = [str(each[4][0]) for each in found]
    if not named_by_address and not all(ipaddress.ip_address(each.partition("%")[0]).is_global for each in addresses):
        raise Refusal(403, "the server is in a private network", "upload the stack instead")
    return addresses[0]


def _download(parts: SplitResult, address: str, target: Path, most_bytes: int, deadline: float) -> None:
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    with _connection(parts, address) as pool:
        answer = pool.request(
            "GET",
            path or "/",
            headers={"Host": parts.netloc, "Accept-Encoding": "identity"},
            redirect=False,
            retries=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=CONNECT_S),
        )
        if answer.status != 200:
            raise Refusal(502, f"the server answered {answer.status}", "check the URL; redirects are not followed")
        length = answer.headers.get("Content-Length") or "0"
        if length.isdecimal() and int(length[:20]) > most_bytes:
            raise Refusal(413, f"the stack is larger than {most_bytes:,} bytes", "send a smaller stack")
        _write(answer, target, most_bytes, deadline)


def _write(answer: urllib3.BaseHTTPResponse, target: Path, most_bytes: int, deadline: float) -> None:
    taken = 0
    with target.open("xb") as stream:
        # read1 gives what has arrived: a server that sends a byte now and then would fill a whole chunk for months
        while chunk := answer.read1(CHUNK_BYTES):
            taken += len(chunk)
            if taken > most_bytes:
                raise Refusal(413, f"the stack is larger than {most_bytes:,} bytes", "send a smaller stack")
            if time.monotonic() > deadline:
                raise Refusal(504, "the server is too slow", "upload the stack instead")
            stream.write(chunk)


def _connection(parts: SplitResult, address: str) -> urllib3.HTTPConnectionPool:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme == "http":
        return urllib3.HTTPConnectionPool(address, port, retries=False)
    return urllib3.HTTPSConnectionPool(
        address, port, retries=False, server_hostname=parts.hostname, assert_hostname=parts.hostname
    )


def room_for(folder: Path, wanted: int) -> None:
    """Raise Refusal (507) where the disk has no room for `wanted` bytes and as much again for the result."""
    if shutil.disk_usage(folder).free < 2 * wanted:
        raise full_disk()


def full_disk() -> Refusal:
    """What a full disk is answered with."""
    return Refusal(507, "the service's disk is full", "send it again later, or tell the service's operator")
