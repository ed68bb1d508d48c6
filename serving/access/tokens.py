"""Bearer tokens, kept as hashes, and what protects an open service on loopback from web pages."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from serving.access.urls import is_address
from serving.failures import Refusal

EVERYBODY = "everybody"
LEAST_CHARACTERS = 16
LOCAL_NAMES = ("localhost",)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Hashes of the tokens. Empty `hashes`: whoever reaches the service may use it."""

    hashes: tuple[bytes, ...]
    admin_hashes: tuple[bytes, ...]

    @property
    def is_open(self) -> bool:
        """Whether no token is asked for."""
        return not self.hashes

    def owner(self, header: str | None) -> str:
        """The fingerprint of the token in an Authorization header. Raises Refusal (401) where it is none of ours."""
        if self.is_open:
            return EVERYBODY
        digest = _digest_of(header)
        # every hash is compared, in equal time
        known = [hmac.compare_digest(digest, each) for each in (*self.hashes, *self.admin_hashes)]
        if not any(known):
            raise _refused("no valid token")
        return digest.hex()[:16]

    def refuse_unless_admin(self, header: str | None) -> None:
        """Raise Refusal unless the caller may change which model answers. An open service may still ask for it."""
        if self.is_open and not self.admin_hashes:
            return
        self.owner(header)
        digest = _digest_of(header)
        known = [hmac.compare_digest(digest, each) for each in self.admin_hashes]
        if not any(known):
            raise Refusal(
                403, "this token is not allowed to change the model", "use one of CAPILLARY_SERVE_ADMIN_TOKENS"
            )


def count_short(tokens: Iterable[str]) -> int:
    """How many of `tokens` are so short that they can be guessed."""
    return sum(len(token) < LEAST_CHARACTERS for token in tokens)


def hashed(tokens: Iterable[str], admin: Iterable[str]) -> Tokens:
    """The tokens as hashes."""
    return Tokens(hashes=tuple(map(_digest, tokens)), admin_hashes=tuple(map(_digest, admin)))


def refuse_foreign_pages(host: str | None, origin: str | None, *, is_open: bool, any_name: bool = False) -> None:
    """Raise Refusal for what a web page of another site sends through the user's browser.

    Without tokens, a page could reach a service on loopback under its own name (DNS rebinding) or post a form to
    it. So an open service answers to local names and addresses only, and no browser may call it from another origin.
    `any_name` admits every host name: Prometheus asks for public figures by the service's name in its network.
    """
    if not is_open:
        return
    if origin and _split(origin).netloc.lower() != (host or "").lower():
        raise Refusal(403, "the request came from a page of another site", "open the service's own page")
    if not any_name and not _is_address(host or ""):
        raise Refusal(
            421, "the service does not have this host name", "call it by its address, or set CAPILLARY_SERVE_TOKENS"
        )


def _is_address(host: str) -> bool:
    name = _split(f"//{host}").hostname or ""
    return name in LOCAL_NAMES or is_address(name)


def _split(url: str) -> SplitResult:
    """The parts of `url`; of one that cannot be read, none."""
    try:
        return urlsplit(url)
    except ValueError:  # such as of http://[
        return urlsplit("")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _digest_of(header: str | None) -> bytes:
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _refused("no token")
    return _digest(token.strip())


def _refused(what: str) -> Refusal:
    return Refusal(401, what, "send the header `Authorization: Bearer TOKEN`", {"WWW-Authenticate": "Bearer"})
