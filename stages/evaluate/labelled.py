"""What a partial annotation lets be measured, and the refusal where the metric that ranks cannot be."""

from collections.abc import Sequence

import numpy as np

from stages.common.errors import ParamsError
from stages.evaluate.cells import Cell
from stages.evaluate.metrics.blocks import LEAST_SIDE, labelled_blocks
from stages.evaluate.params import Evaluation

EVERYWHERE = "dsc"  # counts voxels, so that scattered ones do


def refuse_unmeasured_lead(cells: Sequence[Cell], evaluation: Evaluation) -> None:
    """Raise ParamsError if the first metric, which ranks losses and volumes, cannot be measured in every volume."""
    lead = evaluation.metrics[0]
    if lead == EVERYWHERE:
        return
    volumes = {volume.id: volume for cell in cells for volume in cell.volumes if volume.is_partial}
    without = []
    for name, volume in volumes.items():
        labelled = volume.native_labelled()
        if labelled is not None and not labelled_blocks(labelled.astype(np.bool_)):
            without.append(name)
    if without:
        raise ParamsError(
            f"params.yaml [evaluation] `metrics`: {lead} comes first and decides the ranking, but in these volumes "
            f"no labelled box has {LEAST_SIDE} × {LEAST_SIDE} or more voxels in y and x",
            remedy=f"put {EVERYWHERE} first, or label whole slices or boxes (docs/labels.md)",
            value=", ".join(without),
        )
