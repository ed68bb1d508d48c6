"""Arrays of any number of named axes, and the one stack in them: its channel, its time point, its axes as z, y, x."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.formats.channels import Channel, channel_number, refuse_times
from stages.common.imaging.formats.damage import not_a_stack, shape_text
from stages.common.imaging.zyx import Box

MAX_AXES = 8


@dataclass(frozen=True, kw_only=True)
class ArraySelection:
    """The part of an array that is the stack: a number, or a whole axis (None), for each of its axes.

    `order` says which of the whole axes are z, y and x; z is None if the array has no such axis.
    """

    path: Path
    at: tuple[int | None, ...]
    places_zyx: tuple[int | None, int, int]
    shape_zyx: tuple[int, int, int]
    channels: tuple[str, ...]

    def step(self, chunks: Sequence[int] | None) -> int:
        """How many slices are read at once, so that each chunk is unpacked once."""
        z = self.places_zyx[0]
        return 1 if z is None or not chunks else max(1, min(int(chunks[z]), self.shape_zyx[0]))

    def slices(self, read: Callable[[tuple[Any, ...]], Any], step: int) -> Iterator[NDArray[Any]]:
        """The slices (yx); `read` takes an index and gives the array there, `step` slices are read at once."""
        z, order = self.places_zyx[0], self._order()
        for first in range(0, self.shape_zyx[0], step):
            part = slice(first, min(first + step, self.shape_zyx[0]))
            index = tuple(
                part if number == z else slice(None) if at is None else at for number, at in enumerate(self.at)
            )
            block = np.asarray(read(index)).transpose(order)
            yield from block.reshape(-1, *self.shape_zyx[1:])

    def region(self, read: Callable[[tuple[Any, ...]], Any], box: Box) -> NDArray[Any]:
        """The voxels in `box` (z, y, x); `read` takes an index and gives the array there."""
        parts = dict(zip(self.places_zyx, box, strict=True))
        index = tuple(parts[number] if at is None else at for number, at in enumerate(self.at))
        block = np.asarray(read(index)).transpose(self._order())
        return block.reshape(-1, *block.shape[-2:])

    def chunks_zyx(self, chunks: Sequence[int] | None) -> tuple[int, int, int]:
        """How many voxels are unpacked together along each axis; a slice where the array has no chunks."""
        if not chunks:
            return 1, *self.shape_zyx[1:]
        depth, height, width = (1 if place is None else int(chunks[place]) for place in self.places_zyx)
        return depth, height, width

    def _order(self) -> list[int]:
        """Places of z (where there is one), y and x among the whole axes."""
        whole = [number for number, at in enumerate(self.at) if at is None]
        return [whole.index(place) for place in self.places_zyx if place is not None]


def choose(axes: str, shape: Sequence[int], names: Sequence[str], channel: Channel, path: Path) -> ArraySelection:
    """The stack in an array with `axes`, a letter each: t, c, z, y, x. `names` are those of its channels.

    Raises DataError for several channels of which none is chosen, several time points, axes of other letters with more
    than one entry, and an array without y or x.
    """
    sizes = dict(zip(axes, map(int, shape), strict=True))
    refuse_times(sizes.get("t", 1), path)
    known = len(sizes) == len(axes) and {"y", "x"} <= sizes.keys()
    others = [letter for letter, size in sizes.items() if letter not in "tczyx" and size > 1]
    if not known or others or len(axes) > MAX_AXES or 0 in sizes.values():
        what = f"it holds an array of shape {shape_text(tuple(shape))} ({axes}), not a stack in z, y, x"
        raise not_a_stack(path, what)
    count = sizes.get("c", 1)
    channels = tuple(names) if len(names) == count else ("",) * min(count, 1 << 16)
    number = channel_number(channels, channel, path)
    at = tuple(None if letter in "zyx" else number if letter == "c" else 0 for letter in axes)
    z = axes.index("z") if "z" in sizes else None
    return ArraySelection(
        path=path,
        at=at,
        places_zyx=(z, axes.index("y"), axes.index("x")),
        shape_zyx=(sizes.get("z", 1), sizes["y"], sizes["x"]),
        channels=channels,
    )


def axes_by_shape(shape: Sequence[int], path: Path) -> str:
    """The axes of an array that does not name them: z, y, x are the last ones, and axes of 1 before them mean nothing.
    Nor does a last one of 1, as programs for deep learning keep it, where the three before it are a stack.

    Raises DataError if there are more.
    """
    if len(shape) > 3 and shape[-1] == 1 and math.prod(shape[:-3]) > 1:
        return f"{axes_by_shape(shape[:-1], path)}s"
    extra = len(shape) - 3
    if len(shape) < 2 or len(shape) > MAX_AXES or math.prod(shape[: max(extra, 0)]) > 1:
        text = (
            f"it holds an array of shape {shape_text(tuple(shape))} without names of its axes, not a stack in z, y, x"
        )
        raise not_a_stack(path, text)
    return "tcqpon"[: max(extra, 0)] + "zyx"[-min(len(shape), 3) :]
