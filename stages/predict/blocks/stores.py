"""The stores that blocks are written into: the mask, and the probability where it is asked for."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.zyx import Box
from stages.common.requests.prediction.chunks import LEVEL
from stages.common.requests.prediction.grid import chunk_files, chunk_shape
from stages.common.requests.prediction.records import BlockSurvey
from stages.common.requests.prediction.request import StackRequest
from stages.predict.files.writing import FOREGROUND_IN_TIFF
from stages.predict.files.zarr_writing import create_store, open_store


class Stores:
    """Stores of the files that `stack` asks for; made where a former run did not."""

    def __init__(self, stack: StackRequest, survey: BlockSurvey) -> None:
        self._survey = survey
        self._chunks = chunk_shape(survey.shape_zyx)
        self._mask = self._open(stack.mask, np.uint8)
        self._probability = None if stack.probability is None else self._open(stack.probability, np.float32)
        self._folders = [stack.mask, *([] if stack.probability is None else [stack.probability])]

    def write(self, box: Box, slices: Iterator[NDArray[np.float32]], threshold: float) -> int:
        """Write the `slices` (yx) of a probability that make up `box`; returns how many voxels are above `threshold`.

        All of it is on the disk when this returns.
        """
        z, y, x = box
        vessel = 0
        for first in range(z.start, z.stop, self._chunks[0]):
            probability = np.stack(list(itertools.islice(slices, min(self._chunks[0], z.stop - first))))
            mask = probability > threshold
            vessel += int(np.count_nonzero(mask))
            place = (slice(first, first + len(mask)), y, x)
            self._mask[place] = mask * np.uint8(FOREGROUND_IN_TIFF)
            if self._probability is not None:
                self._probability[place] = probability
        for folder in self._folders:
            _flush(folder, chunk_files(box, self._survey.shape_zyx))
        return vessel

    def _open(self, folder: Path, dtype: Any) -> Any:
        if (folder / LEVEL / ".zarray").is_file():
            return open_store(folder)
        found = self._survey
        return create_store(folder, np.dtype(dtype), found.shape_zyx, self._chunks, found.spacing_um, found.start_um)


def _flush(folder: Path, files: Iterator[str]) -> None:
    """To the disk; a chunk of zeros has no file."""
    for file in files:
        if (folder / file).is_file():
            with (folder / file).open("rb") as stream:
                os.fsync(stream.fileno())
