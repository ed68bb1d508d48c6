"""From a predicted mask to the row of its volume."""

import time

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.volumes import Volume
from stages.common.runtime import Runtime
from stages.evaluate.held_out.rows import HeldOutRow
from stages.evaluate.measure import Measurement, measure
from stages.evaluate.params import Evaluation
from stages.evaluate.predictions.masks import HeldOut, OutOfFold, Predicted, labelled_of, on_own_grid, own_grid
from stages.evaluate.row import Row
from stages.evaluate.small_parts import without_small
from stages.evaluate.views import take_views


def held_out_row_of(predicted: HeldOut, least_um3: float, evaluation: Evaluation, runtime: Runtime) -> HeldOutRow:
    """Measure the mask of a held-out volume without parts below `least_um3`, and remove the mask's file."""
    started = time.monotonic()
    volume = predicted.volume
    mask = _final_mask(predicted, least_um3)
    label, labelled = volume.native_label().astype(np.bool_), labelled_of(volume)
    return HeldOutRow(
        loss=predicted.loss,
        model=predicted.model,
        id=volume.id,
        group=volume.group,
        measurement=_measured(mask, label, labelled, volume, evaluation, runtime),
        seconds=predicted.seconds + time.monotonic() - started,
    )


def row_of(predicted: OutOfFold, least_um3: float, evaluation: Evaluation, runtime: Runtime) -> Row:
    """The same for a volume that a fold validates, with pictures."""
    started = time.monotonic()
    cell, volume = predicted.cell, predicted.volume
    mask = _final_mask(predicted, least_um3)
    label, labelled = volume.native_label().astype(np.bool_), labelled_of(volume)
    image = on_own_grid(volume.image(), volume)
    return Row(
        loss=cell.loss,
        fold=cell.fold,
        seed=cell.seed,
        id=volume.id,
        group=volume.group,
        measurement=_measured(mask, label, labelled, volume, evaluation, runtime),
        views=take_views(image, label, mask, own_grid(volume).spacing_um, labelled),
        weights_sha256=cell.card.weights_sha256,
        seconds=predicted.seconds + time.monotonic() - started,
    )


def _final_mask(predicted: Predicted, least_um3: float) -> NDArray[np.bool_]:
    """The mask without small parts; its file is removed."""
    mask = without_small(predicted.mask(), own_grid(predicted.volume).spacing_um, least_um3)
    predicted.mask_file.unlink()
    return mask


def _measured(
    mask: NDArray[np.bool_],
    label: NDArray[np.bool_],
    labelled: NDArray[np.bool_] | None,
    volume: Volume,
    evaluation: Evaluation,
    runtime: Runtime,
) -> Measurement:
    return measure(
        mask,
        label,
        own_grid(volume).spacing_um,
        metrics=evaluation.metrics,
        nsd_tolerance_um=evaluation.nsd_tolerance_um,
        radius_bands_um=evaluation.radius_bands_um,
        threads=runtime.threads,
        labelled_zyx=labelled,
    )
