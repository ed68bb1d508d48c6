"""A grey PNG: one slice."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.formats.channels import Channel, channel_number
from stages.common.imaging.formats.claims import DEFLATE, FLOAT, Claim, refuse_impossible, refuse_large
from stages.common.imaging.formats.damage import damaged, not_a_stack
from stages.common.imaging.formats.inflate import PIECE

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY = 0


def _head(file: Path) -> tuple[int, int, int]:
    """Height, width and bits per pixel. DataError for other files, colours and false sizes."""
    with file.open("rb") as stream:
        head = stream.read(33)
    if len(head) < 33 or head[:8] != _SIGNATURE or head[12:16] != b"IHDR":
        raise damaged(file, "it is not a PNG file")
    width, height, bits, kind = struct.unpack_from(">IIBB", head, 16)
    if kind != _GREY:
        raise not_a_stack(file, "it is a colour image, or has a palette or transparency")
    if bits not in (1, 2, 4, 8, 16) or not width or not height:
        raise damaged(file, f"its header claims {height} × {width} pixels of {bits} bits")
    claimed = height * ((width * bits + 7) // 8)
    refuse_impossible(Claim(stored_bytes=claimed, held_bytes=file.stat().st_size, packing=DEFLATE), file)
    return height, width, bits


def png_shape(file: Path, channel: Channel) -> tuple[int, int]:
    """Height and width."""
    channel_number(("",), channel, file)
    height, width, _ = _head(file)
    return height, width


def png_dtype(file: Path) -> np.dtype[Any]:
    """16 bits or 8."""
    return np.dtype(np.uint16 if _head(file)[2] == 16 else np.uint8)


def read_png(file: Path) -> NDArray[Any]:
    """The pixels (yx); those of fewer than 8 bits are spread over the whole range."""
    import imagecodecs

    height, width, bits = _head(file)
    size = height * width * (2 if bits == 16 else 1)
    refuse_large(size + height * width * FLOAT + PIECE, size, file)
    pixels: NDArray[Any] = imagecodecs.png_decode(file.read_bytes())
    if pixels.shape != (height, width):
        raise damaged(file, f"its pixels are {pixels.shape}, not {height} × {width}")
    return pixels
