"""The Hub's HTTP interface, as far as reading a data set needs it: a revision's commit, a list of files, a file.

Three kinds of request need no library of the Hub's own, which the image of ingest does not have
(docs/adr/0005-the-hub-is-pinned-by-a-file.md). The token goes to the Hub alone: aiohttp drops it where a redirect leads
to another server, which is how the Hub hands out large files.
"""

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import aiohttp

from stages.common.dataset.hub import HubAddress, is_commit
from stages.common.errors import CapillaryError, DataError, ServiceError
from stages.common.runtime import HubLogin
from stages.common.text import visible
from stages.ingest.sources.archives.limits import MAX_MEMBERS
from stages.ingest.sources.hub.files import ENTRY_KEYS
from stages.ingest.sources.services import CONNECT_TIMEOUT_S, READ_TIMEOUT_S

MAX_PAGE_BYTES = 1 << 25
MAX_LIST_BYTES = 1 << 27  # all pages of a list
PAUSES_S = (1.0, 3.0)  # before the second and the third try
_PIECE = 1 << 20
_TOKEN = "set SOURCE_HF_TOKEN in .env to a token that may read this data set"  # noqa: S105 - says where it belongs
_TRANSIENT = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, asyncio.TimeoutError)
_Result = TypeVar("_Result")


class _BusyError(Exception):
    """The Hub asks to come back later."""


@dataclass(frozen=True, kw_only=True)
class _Page:
    """An answer in JSON, the address of the page after it, and how many bytes it has."""

    content: Any
    next_url: str | None
    size: int


@dataclass(frozen=True, kw_only=True)
class HubClient:
    """One data set on one Hub. Raises DataError for what is not there, ServiceError where the Hub does not answer."""

    login: HubLogin
    address: HubAddress
    is_patient: bool = True  # tries again after a while

    @property
    def _api(self) -> str:
        return f"{self.login.endpoint}/api/datasets/{self.address.repo}"

    def commit_of(self, revision: str) -> str:
        """The commit that a branch, a tag or a commit means now."""
        url = f"{self._api}/revision/{quote(revision, safe='')}"
        said = _run(lambda session: self._page(session, url), self.login).content
        commit = said.get("sha") if isinstance(said, dict) else None
        if not isinstance(commit, str) or not is_commit(commit):
            raise self._unreadable("it does not name the commit of the revision")
        return commit

    def entries(self, commit: str) -> list[dict[str, Any]]:
        """The entries of the folder and all below it, as the Hub lists them; `take_entries` checks them."""
        return _run(lambda session: self._entries(session, commit), self.login)

    def download(self, wanted: Iterator[tuple[str, int, Path]], commit: str, done: Callable[[Path], None]) -> None:
        """Write each of `wanted` (path in the data set, bytes, a file to be made) and call `done` after it."""

        async def every(session: aiohttp.ClientSession) -> None:
            for path, size, part in wanted:
                await self._file(session, path, commit, size, part)
                done(part)

        _run(every, self.login)

    async def _entries(self, session: aiohttp.ClientSession, commit: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        below = f"/{quote(self.address.folder)}" if self.address.folder else ""
        url: str | None = f"{self._api}/tree/{commit}{below}?recursive=true&expand=false"
        size = 0
        while url is not None:
            page = await self._page(session, url)
            listed, url, size = page.content, page.next_url, size + page.size
            if (
                not isinstance(listed, list)
                or not all(isinstance(each, dict) for each in listed)
                or (url and not listed)
            ):
                raise self._unreadable("it is not a list of files")
            found += ({key: each[key] for key in ENTRY_KEYS if key in each} for each in listed)
            if len(found) > MAX_MEMBERS or size > MAX_LIST_BYTES:
                most = f"{MAX_MEMBERS:,} files and folders" if len(found) > MAX_MEMBERS else f"{MAX_LIST_BYTES:,} bytes"
                what = f"the list of {self.address.text} holds more than {most}"
                raise DataError(what, remedy="name the folder in it that holds the stacks", file=self.address.text)
        return found

    async def _page(self, session: aiohttp.ClientSession, url: str) -> _Page:
        """The JSON at `url`."""

        async def once() -> _Page:
            async with self._asked(session, url) as answer:
                data = await _bounded(answer, MAX_PAGE_BYTES)
                if data is None:
                    raise self._unreadable(f"it has more than {MAX_PAGE_BYTES:,} bytes")
                return _Page(content=json.loads(data), next_url=self._next_page(answer), size=len(data))

        try:
            return await self._patiently(once)
        except (ValueError, RecursionError) as error:
            raise self._unreadable("it is not JSON") from error

    def _next_page(self, answer: aiohttp.ClientResponse) -> str | None:
        """Where the list continues. Another server is not asked: the token would go there."""
        link = answer.links.get("next")
        if link is None:
            return None
        url = urljoin(self.login.endpoint, str(link["url"]))
        here, there = urlsplit(self.login.endpoint), urlsplit(url)
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            raise self._unreadable(f"its list of files continues on another server, {visible(there.netloc)[:100]}")
        return url

    async def _file(self, session: aiohttp.ClientSession, path: str, commit: str, size: int, part: Path) -> None:
        """Whatever a broken connection left in `part` is kept; the next try asks for the rest."""
        url = f"{self.login.endpoint}/datasets/{self.address.repo}/resolve/{commit}/{quote(path)}"

        async def once() -> None:
            have = part.stat().st_size if part.exists() else 0
            if have >= size and part.exists():
                return
            async with self._asked(session, url, have) as answer:
                with part.open("ab" if have and answer.status == 206 else "wb") as stream:
                    async for piece in answer.content.iter_chunked(_PIECE):
                        stream.write(piece)
                        if stream.tell() > size:
                            raise self._lied(path, f"it has more than the {size:,} bytes that the Hub lists")

        await self._patiently(once)

    @contextlib.asynccontextmanager
    async def _asked(
        self, session: aiohttp.ClientSession, url: str, have: int = 0
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        # identity: what is counted and resumed are the bytes of the file
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
        async with session.get(url, headers=headers) as answer:
            if answer.status == 429 or answer.status >= 500:
                raise _BusyError(f"HTTP {answer.status}")
            if answer.status >= 400:
                raise self._refusal(answer)
            yield answer

    async def _patiently(self, once: Callable[[], Awaitable[_Result]]) -> _Result:
        for pause_s in (*(PAUSES_S if self.is_patient else ()), math.nan):
            try:
                return await once()
            except (*_TRANSIENT, _BusyError) as error:
                if math.isnan(pause_s):
                    raise self._silent(error) from error
                await asyncio.sleep(pause_s)
            except aiohttp.ClientError as error:
                raise self._silent(error) from error
        raise AssertionError("the last try ends the loop")

    def _silent(self, error: Exception) -> ServiceError:
        return ServiceError(
            f"{self.address.text} cannot be read from {self.login.endpoint}",
            remedy="check the network, the proxy settings (HTTPS_PROXY) and HF_ENDPOINT, then repeat; what was "
            "downloaded is kept",
            value=(" ".join(str(error).split()) or type(error).__name__)[:300],
        )

    def _refusal(self, answer: aiohttp.ClientResponse) -> CapillaryError:
        """In the words of the Hub's own codes: it hides private data sets as if they did not exist."""
        code, shown = answer.headers.get("X-Error-Code", ""), self.address.text
        page = f"{self.login.endpoint}/datasets/{self.address.repo}"
        if code == "GatedRepo":
            remedy = f"accept its terms at {page}, then {_TOKEN}"
            return ServiceError(f"{shown} is open only to those who accept its terms", remedy=remedy)
        if code == "RevisionNotFound":
            what = f"{self.address.repo} has no revision {self.address.revision}"
            return DataError(what, remedy=f"choose a branch, a tag or a commit of {page}", file=shown)
        if code == "EntryNotFound":
            what = f"{shown} does not exist: the data set has no such folder or file"
            return DataError(what, remedy=f"correct its name; {page}/tree lists what there is", file=shown)
        if code == "RepoNotFound" or answer.status in (401, 404):
            given = "the token may not read it" if self.login.token else "it is private"
            what = f"{shown} does not exist, or {given}"
            return DataError(what, remedy=f"correct the name; if it is private, {_TOKEN}", file=shown)
        said = visible(answer.headers.get("X-Error-Message", ""))[:200]
        return ServiceError(
            f"access to {shown} is refused", remedy=_TOKEN, value=f"HTTP {answer.status} {said}".strip()
        )

    def _unreadable(self, why: str) -> ServiceError:
        return ServiceError(
            f"the answer of {self.login.endpoint} about {self.address.text} cannot be used: {why}",
            remedy="check that HF_ENDPOINT is the address of a Hugging Face Hub",
            value=self.login.endpoint,
        )

    def _lied(self, path: str, why: str) -> DataError:
        return DataError(
            f"{path} of {self.address.text} is not what was asked for: {why}",
            remedy="repeat; if it fails again, a proxy or the server changes files",
            file=path,
        )


def _run(work: Callable[[aiohttp.ClientSession], Awaitable[_Result]], login: HubLogin) -> _Result:
    async def inside() -> _Result:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {login.token}"} if login.token else {}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers, trust_env=True) as session:
            return await work(session)

    return asyncio.run(inside())


async def _bounded(answer: aiohttp.ClientResponse, most: int) -> bytes | None:
    """The body; None for one of more than `most` bytes."""
    pieces = bytearray()
    async for piece in answer.content.iter_chunked(_PIECE):
        pieces += piece
        if len(pieces) > most:
            return None
    return bytes(pieces)
