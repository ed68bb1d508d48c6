"""A grey PNG, or one in colour whose red, green and blue are equal: one slice."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.formats.channels import Channel, channel_number
from stages.common.imaging.formats.claims import DEFLATE, FLOAT, Claim, refuse_impossible, refuse_large
from stages.common.imaging.formats.damage import damaged, not_a_stack
from stages.common.imaging.formats.inflate import PIECE

_COLOURS = 3
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}  # a pixel's numbers by the kind of image: grey, colour, and both with transparency


@dataclass(frozen=True, kw_only=True)
class _Head:
    """What the header claims; `bits` are those of each of a pixel's `samples`."""

    height: int
    width: int
    bits: int
    samples: int


def _head(file: Path) -> _Head:
    """DataError for other files, palettes and false sizes."""
    with file.open("rb") as stream:
        head = stream.read(33)
    if len(head) < 33 or head[:8] != _SIGNATURE or head[12:16] != b"IHDR":
        raise damaged(file, "it is not a PNG file")
    width, height, bits, kind = struct.unpack_from(">IIBB", head, 16)
    samples = _SAMPLES.get(kind)
    if samples is None:
        what = "it has a palette, whose numbers stand for colours; save it as a grey image"
        raise not_a_stack(file, what, "save it as a grey image")
    if bits not in ((1, 2, 4, 8, 16) if samples == 1 else (8, 16)) or not width or not height:
        raise damaged(file, f"its header claims {height} × {width} pixels of {bits} bits")
    claimed = height * ((width * samples * bits + 7) // 8)
    refuse_impossible(Claim(stored_bytes=claimed, held_bytes=file.stat().st_size, packing=DEFLATE), file)
    return _Head(height=height, width=width, bits=bits, samples=samples)


def png_shape(file: Path, channel: Channel) -> tuple[int, int]:
    """Height and width."""
    channel_number(("",), channel, file)
    head = _head(file)
    return head.height, head.width


def png_dtype(file: Path) -> np.dtype[Any]:
    """16 bits or 8."""
    return np.dtype(np.uint16 if _head(file).bits == 16 else np.uint8)


def png_is_colour(file: Path) -> bool:
    """Whether it is stored in colour."""
    return _head(file).samples >= _COLOURS


def read_png(file: Path) -> NDArray[Any]:
    """The pixels (yx); those of fewer than 8 bits are spread over the whole range.

    Raises DataError where the colours of a pixel differ.
    """
    import imagecodecs

    head = _head(file)
    size = head.height * head.width * (head.samples + head.samples % 2) * (2 if head.bits == 16 else 1)
    refuse_large(size + head.height * head.width * FLOAT + PIECE, size, file)
    decoded: NDArray[Any] = imagecodecs.png_decode(file.read_bytes())
    pixels = decoded.reshape(*decoded.shape[:2], -1)
    # a value that stands for transparent (tRNS) comes as one sample more
    if pixels.shape[:2] != (head.height, head.width) or pixels.shape[2] - head.samples not in (0, head.samples % 2):
        raise damaged(file, f"its pixels are {decoded.shape}, not {head.height} × {head.width}")
    grey = pixels[..., 0]
    if head.samples >= _COLOURS and not all(np.array_equal(grey, pixels[..., other]) for other in (1, 2)):
        what = "it is a colour image; save one channel of it as a grey image"
        raise not_a_stack(file, what, "save one channel of it as a grey image")
    return np.ascontiguousarray(grey)
