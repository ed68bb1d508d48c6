"""The part of a tiling that decides a box of the volume: predicted by itself, the box is as in the whole volume.

A voxel is the weighted mean of all patches that hold it. A part has all patches that touch the box, in the order in
which the whole volume sums them, so that also the rounding of each sum is the same. Along x, whole batches are kept
together: what a network computes may depend on the batch in its last digits, with bf16 in earlier ones.
"""

from dataclasses import dataclass

from stages.common.imaging.zyx import Box
from stages.common.tiling.tiles import Tiling
from stages.common.tiling.windows import Axis


@dataclass(frozen=True, kw_only=True)
class Region:
    """`outer` is what is read of the volume, `tiling` the patches in it, and `inner` the box, counted from `outer`."""

    outer: Box
    tiling: Tiling
    inner: Box


def region_of(tiling: Tiling, box: Box, batch_size: int) -> Region:
    """The region that decides `box` of a volume under `tiling`, when patches are predicted in batches."""
    parts = [
        _part(axis, wanted, group) for axis, wanted, group in zip(tiling.axes, box, (1, 1, batch_size), strict=True)
    ]
    (z, along_z), (y, along_y), (x, along_x) = parts
    inner_z, inner_y, inner_x = (
        slice(wanted.start - whole.start, wanted.stop - whole.start)
        for wanted, whole in zip(box, (z, y, x), strict=True)
    )
    axes = (along_z, along_y, along_x)
    return Region(outer=(z, y, x), tiling=Tiling(axes=axes, weights=tiling.weights), inner=(inner_z, inner_y, inner_x))


def _part(axis: Axis, wanted: slice, group: int) -> tuple[slice, Axis]:
    """(what is read, its patches): those that touch `wanted`, in whole groups of `group`."""
    touching = [
        number for number, start in enumerate(axis.starts) if start < wanted.stop and start + axis.patch > wanted.start
    ]
    first = touching[0] // group * group
    starts = axis.starts[first : (touching[-1] // group + 1) * group]
    whole = slice(axis.inside(starts[0]).start, axis.inside(starts[-1]).stop)
    moved = tuple(start - whole.start for start in starts)
    return whole, Axis(size=whole.stop - whole.start, patch=axis.patch, starts=moved)
