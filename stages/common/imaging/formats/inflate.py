"""Compressed streams, read forward in bounded pieces: nothing is inflated that nobody asks for."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

PIECE = 1 << 20  # bytes inflated or read at a time
_PACKED = 1 << 16  # bytes taken from the file at a time
GZIP = 31  # zlib's number for a gzip header and its checksum
RAW_DEFLATE = -15
_MOST_XZ_BYTES = 1 << 28  # of its dictionary: four times what `xz -9` needs


class Packed(Protocol):
    """Where compressed bytes come from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


class Decoder(Protocol):
    """bz2's and lzma's interface."""

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed data was met."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes out without more data."""

    @property
    def unused_data(self) -> bytes:
        """What follows the end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes."""


class ZlibDecoder:
    """zlib behind the interface of the other two."""

    def __init__(self, wbits: int = GZIP) -> None:
        """`wbits` as zlib takes it."""
        self._decoder = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed data was met, and its checksum was right."""
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        """Whether everything given so far was taken."""
        return not self._decoder.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        """What follows the end."""
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes."""
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)


def xz_decoder() -> Decoder:
    """For .xz, with a bound on the memory that its header can ask for."""
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_XZ_BYTES)


DECODERS: dict[bytes, Callable[[], Decoder]] = {
    b"\x1f\x8b": ZlibDecoder,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": xz_decoder,
}


def decoder_of(head: bytes) -> Callable[[], Decoder] | None:
    """What inflates a file that begins with `head`; None for one that is not compressed."""
    return next((decoder for magic, decoder in DECODERS.items() if head.startswith(magic)), None)


class Inflated:
    """What `packed` holds. Several compressed files one after the other are read as one, unless `single`.

    Reading raises EOFError if the data end too early, and the decoder's own errors for damaged ones.
    """

    def __init__(self, packed: Packed, new_decoder: Callable[[], Decoder], *, single: bool = False) -> None:
        """Begin where `packed` is."""
        self._packed = packed
        self._new_decoder = new_decoder
        self._decoder = new_decoder()
        self._single = single
        self._waiting = b""

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer at the end only."""
        pieces = []
        while size > 0 and (piece := self._piece(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def skip(self, size: int) -> int:
        """Pass over `size` bytes; returns over how many, fewer at the end only."""
        passed = 0
        while passed < size and (piece := self._piece(min(size - passed, PIECE))):
            passed += len(piece)
        return passed

    def _piece(self, size: int) -> bytes:
        while not self._decoder.eof or self._begin_next():
            is_hungry = self._decoder.needs_input
            data = self._take() if is_hungry else b""
            if piece := self._decoder.decompress(data, size):
                return piece
            if is_hungry and not data and not self._decoder.eof:
                raise EOFError("the compressed data end too early")
        return b""

    def _take(self) -> bytes:
        data, self._waiting = self._waiting or self._packed.read(_PACKED), b""
        return data

    def _begin_next(self) -> bool:
        """Whether there is more behind the end: zeros are padding."""
        rest = b"" if self._single else self._decoder.unused_data or self._take()
        while rest and not (rest := rest.lstrip(b"\0")):
            rest = self._take()
        if rest:
            self._decoder, self._waiting = self._new_decoder(), rest
        return bool(rest)
