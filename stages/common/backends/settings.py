"""How the backend of a prediction is chosen, and how much it has to do."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from stages.common.imaging.zyx import Shape
from stages.common.inference import BATCH_SIZE, Flips
from stages.common.tiling.windows import axis_for

Backend = Literal["auto", "torch", "openvino"]
# voxels that go through a network; with fewer, converting the network takes longer than OpenVINO saves
MUCH_WORK = 1 << 21
_MIRRORED: dict[Flips, int] = {"none": 1, "in_plane": 4, "all": 8}


@dataclass(frozen=True, kw_only=True)
class BackendSettings:
    """`asked` is evaluation.backend; `threads` and `patches_at_a_time` are this run's share of the machine."""

    asked: Backend
    threads: int
    patches_at_a_time: int = BATCH_SIZE

    def may_convert(self, work_voxels: int) -> bool:
        """Whether OpenVINO is a candidate for a stack that takes `work_voxels`.

        This is a property of the stack alone: the same stack is computed alike in evaluate, in predict, in the service
        and in parts of a batch, in whatever order they come.
        """
        return self.asked == "openvino" or (self.asked == "auto" and work_voxels >= MUCH_WORK)


def work_voxels(grid: Shape, patch_voxels: Sequence[int], overlap: float, flips: Flips) -> int:
    """How many voxels go through the network for a stack on `grid`: those of all patches, mirrored ones included."""
    axes = (axis_for(size, patch, overlap) for size, patch in zip(grid, patch_voxels, strict=True))
    return prod(itertools.chain(patch_voxels, (len(axis.starts) for axis in axes))) * _MIRRORED[flips]
