"""Which of the planes in a TIFF are the stack: its slices, of one channel and of the one time point."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from stages.common.imaging.formats.channels import Channel, channel_number, refuse_times
from stages.common.imaging.formats.damage import not_a_stack, shape_text

_CHANNELS, _TIMES = "C", "T"


@dataclass(frozen=True, kw_only=True)
class Planes:
    """The planes of the stack in the order of z, by their numbers among all planes of the file's series.

    `axes` are the stack's: that of its slices as the file calls it, Y and X. `channels` are the names of all channels,
    "" for one without a name.
    """

    axes: str
    numbers: tuple[int, ...]
    channels: tuple[str, ...] = ("",)


def choose_planes(series: tifffile.TiffPageSeries, names: Sequence[str], channel: Channel, path: Path) -> Planes:
    """The planes of `channel`. `names` are those of the channels, as far as the file has them.

    Raises DataError if the series has several channels and none is chosen, several time points, or more axes than a
    stack.
    """
    axes, shape = _until_x(series)
    long = [(letter, size) for letter, size in zip(axes[:-2], shape[:-2], strict=True) if size > 1]
    leading = dict(long)  # axes of 1 mean nothing: programs add them
    refuse_times(leading.pop(_TIMES, 1), path)
    if channel is None and _are_slices(series, leading, names):
        return Planes(axes="CYX", numbers=tuple(range(leading[_CHANNELS])))
    count = leading.pop(_CHANNELS, 1)
    channels = tuple(names) if len(names) == count else ("",) * count
    number = channel_number(channels, channel, path)
    if not axes.endswith("YX") or len(leading) > 1 or len({letter for letter, _ in long}) < len(long):
        told = f"{shape_text(tuple(series.shape))} ({series.axes})"
        raise not_a_stack(path, f"it holds an array of shape {told}, not a stack in z, y, x")
    slices = next(iter(leading), "Z")
    every = np.arange(math.prod(shape[:-2])).reshape(shape[:-2])
    chosen = every[tuple(number if letter == _CHANNELS else slice(None) for letter in axes[:-2])]
    return Planes(axes=f"{slices}YX", numbers=tuple(map(int, chosen.ravel())), channels=channels)


def plane_of(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    """Sizes of a plane in y and x."""
    *_, y, x = _until_x(series)[1]
    return y, x


def _until_x(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Axes and sizes without axes of 1 behind x, such as a channel's."""
    axes, shape = str(series.axes), tuple(map(int, series.shape))
    end = axes.rfind("YX") + 2
    # without slices before it, z, y, x with a single column looks the same
    if end < 2 or math.prod(shape[end:]) > 1 or math.prod(shape[: end - 2]) == 1:
        end = len(axes)
    return axes[:end], shape[:end]


def _are_slices(series: tifffile.TiffPageSeries, leading: dict[str, int], names: Sequence[str]) -> bool:
    """Whether what the file calls channels are slices: tifffile calls them so where nobody told it their axis."""
    is_told_apart = any(names) or any(size > 1 for letter, size in leading.items() if letter != _CHANNELS)
    is_doubtful = series.keyframe.software.startswith("tifffile")
    return leading.get(_CHANNELS, 1) > 1 and is_doubtful and not is_told_apart
