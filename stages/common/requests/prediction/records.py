"""What the steps leave for each other and for the host: the survey of a stack, and a line per block that is done."""

import os
from pathlib import Path
from typing import IO

from stages.common.imaging.zyx import Shape, Spacing
from stages.common.params import Finite, Params
from stages.common.requests.prediction.grid import BlockGrid
from stages.common.requests.prediction.request import Number
from stages.common.stored import Stored

SURVEY_FILE = "survey.json"  # in the stage's working folder, and in the folder of the step that makes it
ASSEMBLED = "assembled"  # the folder, in the last step's own, of the mask that the blocks left
BLOCKS_FILE = "blocks.jsonl"  # in the folder of the request
MOST_BLOCKS = 10**6  # more than any machine predicts in a year


class BlockSurvey(Stored):
    """What all blocks of a stack share: the scale of the whole stack, and the size of a block.

    The scale is that of stages/common/imaging/intensities/normalise.py. `method` is the hash of the networks and
    params for which it was made (stages/predict/batch/keys.py).
    """

    shape_zyx: Shape
    spacing_um: Spacing
    start_um: tuple[Finite, Finite, Finite] | None = None  # of the first voxel, where the file says so
    block_zyx: Shape
    offset: Finite
    divisor: Finite
    clip: bool
    method: str

    @property
    def grid(self) -> BlockGrid:
        """The blocks."""
        return BlockGrid(shape_zyx=self.shape_zyx, block_zyx=self.block_zyx)


class BlockResult(Params):
    """A block whose chunks are on the disk, and how many voxels of it are vessel."""

    number: Number
    vessel_voxels: Number


class BlockResults:
    """The stage's end: appends a line per block. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._stream: IO[bytes] = (folder / BLOCKS_FILE).open("ab")

    def append(self, result: BlockResult) -> None:
        """Write one line whole; it is on the disk when this returns."""
        self._stream.write(result.model_dump_json().encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def __enter__(self) -> "BlockResults":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
