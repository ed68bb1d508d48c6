"""A stack in a multipart body: bounded in bytes, fields and time, written to the disk as it comes."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks
from starlette.requests import ClientDisconnect, Request

from serving.failures import Refusal

FIELDS = ("spacing_um", "dataset", "format", "probability", "picture", "view", "url")
MOST_FIELD_BYTES = 4096
MOST_PARTS = 8
SAFE_NAME = re.compile(r"[^\w .()+-]", re.ASCII)


@dataclass
class Upload:
    """What a body held: the fields, and the stack's name and size where it had one."""

    fields: dict[str, str] = field(default_factory=dict)
    file_name: str | None = None
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class SizeLimit:
    """The largest body that a path takes, and what to do with a larger one."""

    most_bytes: int
    remedy: str

    def refusal(self) -> Refusal:
        """What a larger body is answered with."""
        return Refusal(413, f"the body is larger than {self.most_bytes:,} bytes", self.remedy)


async def receive(request: Request, target: Path, limit: SizeLimit, idle_s: float) -> Upload:
    """Read the body of `request`; the field `stack` becomes the file `target`. Raises Refusal."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if boundary is None:
        raise Refusal(415, "the body is not multipart/form-data", "send the stack in the multipart field `stack`")
    with target.open("xb") as stream:
        parts = _Parts(stream.write)
        try:
            parser = MultipartParser(boundary, parts.callbacks())
            async for chunk in _bounded(request, limit, idle_s):
                await asyncio.to_thread(parser.write, chunk)  # it writes to the disk
            parser.finalize()
        except FormParserError as error:
            raise Refusal(400, f"the multipart body cannot be read: {error}", "send it with a current client") from None
    if not parts.is_whole:
        raise Refusal(400, "the body ends before its last boundary", "send it again")
    return parts.upload


def declared_size(request: Request, limit: SizeLimit) -> int:
    """The size that the request declares, 0 where it does not; raises Refusal (413) before anything is read."""
    declared = request.headers.get("content-length", "0")
    size = int(declared) if declared.isdecimal() else 0
    if size > limit.most_bytes:
        raise limit.refusal()
    return size


async def _bounded(request: Request, limit: SizeLimit, idle_s: float) -> AsyncIterator[bytes]:
    """The body's chunks. A client that sends nothing for `idle_s`, or less than 1 kB per second, is refused."""
    chunks, taken, began = request.stream().__aiter__(), 0, asyncio.get_running_loop().time()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), idle_s)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refusal(408, f"nothing arrived for {idle_s:g} s", "send it again over a better connection") from None
        except ClientDisconnect:
            raise Refusal(400, "the connection ended in the middle of the body", "send it again") from None
        taken += len(chunk)
        if taken > limit.most_bytes:
            raise limit.refusal()
        if asyncio.get_running_loop().time() - began > idle_s + taken / 1000:
            raise Refusal(408, "the body arrives too slowly", "send it again over a better connection")
        yield chunk


class _Parts:
    """Takes the parts of a body from the parser: the stack goes to `write`, short fields into the upload."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.upload, self.is_whole = Upload(), False
        self._write = write
        self._seen: set[str] = set()
        self._name = ""
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._data = b""

    def callbacks(self) -> "MultipartCallbacks":
        """As python-multipart wants them."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers, self._data = {}, b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name not in ("stack", *FIELDS):
            raise Refusal(422, f"there is no field `{self._name}`", f"the fields are stack, {', '.join(FIELDS)}")
        if self._name in self._seen or len(self._seen) >= MOST_PARTS:
            raise Refusal(422, f"the field `{self._name}` occurs twice", "send one stack in a request")
        self._seen.add(self._name)
        if self._name == "stack":
            given = options.get(b"filename", b"").decode("utf-8", "replace")
            self.upload.file_name = plain_name(given)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "stack":
            self.upload.size += end - start
            self._write(data[start:end])
            return
        self._data += data[start:end]
        if len(self._data) > MOST_FIELD_BYTES:
            raise Refusal(413, f"the field `{self._name}` is too long", "send the stack in the field `stack`")

    def _part_end(self) -> None:
        if self._name != "stack":
            self.upload.fields[self._name] = self._data.decode("utf-8", "replace").strip()

    def _end(self) -> None:
        self.is_whole = True


def plain_name(given: str) -> str:
    """A file name without folders and odd characters, of at most 200 characters: it is shown, never opened."""
    last = re.split(r"[/\\]", given)[-1]
    return SAFE_NAME.sub("_", last)[-200:].strip() or "stack"
