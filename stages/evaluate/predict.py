"""The networks of all cells on their validation volumes, one row a volume."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.inference import predict_probability
from stages.common.memory_guard import MemoryGuard
from stages.common.metrics import METRICS
from stages.common.mlflow_server import Server
from stages.common.progress import progress
from stages.common.registry import ModelCard, autocast_of, load_model
from stages.common.runtime import Runtime
from stages.common.volumes import Volume
from stages.evaluate.cells import Cell
from stages.evaluate.measure import Measurement, measure
from stages.evaluate.params import Evaluation
from stages.evaluate.views import Views, take_views


@dataclass(frozen=True, kw_only=True)
class Row:
    """One volume under one network, with small pictures of it.

    `seconds` is told and logged, but kept out of the tables: they are reproducible.
    """

    loss: str
    fold: int
    id: str
    measurement: Measurement
    views: Views
    model_name: str
    model_version: str
    seconds: float


def evaluate_cells(
    cells: list[Cell], evaluation: Evaluation, server: Server, runtime: Runtime, guard: MemoryGuard
) -> list[Row]:
    """Predict and measure every volume of every cell; at most one network and one whole volume are in memory.

    Raises CapillaryError between two volumes when `guard` says that they take too much.
    """
    rows = []
    with progress("evaluate", sum(len(cell.volumes) for cell in cells)) as steps:
        for cell in cells:
            for row in _evaluate_cell(cell, evaluation, server, runtime):
                rows.append(row)
                guard.raise_if_crossed(f"after volume {row.id} of {row.loss}, fold {row.fold}")
                steps.advance(f"{row.loss} fold {row.fold} {row.id} {_brief(row.measurement)} in {row.seconds:.1f} s")
    return rows


def _evaluate_cell(cell: Cell, evaluation: Evaluation, server: Server, runtime: Runtime) -> Iterator[Row]:
    if not cell.volumes:
        return
    device = "cuda" if torch.cuda.is_available() and runtime.compute.device != "cpu" else "cpu"
    model = load_model(cell.card, server=server).to(device)
    for volume in cell.volumes:
        started = time.monotonic()
        mask = predict_mask(model, volume, cell.card, evaluation)
        label = volume.label().astype(np.bool_)
        measurement = measure(
            mask,
            label,
            volume.spacing_um,
            metrics=evaluation.metrics,
            nsd_tolerance_um=evaluation.nsd_tolerance_um,
            threads=runtime.threads,
        )
        yield Row(
            loss=cell.loss,
            fold=cell.fold,
            id=volume.id,
            measurement=measurement,
            views=take_views(volume.image(), label, mask, volume.spacing_um),
            model_name=cell.card.model_name,
            model_version=cell.card.model_version,
            seconds=time.monotonic() - started,
        )


def predict_mask(model: torch.nn.Module, volume: Volume, card: ModelCard, evaluation: Evaluation) -> NDArray[np.bool_]:
    """Predicted foreground of `volume`, boolean, zyx; in the patches and the precision of the card's training."""
    probability_zyx = predict_probability(
        model,
        volume.image(),
        card.patch_voxels,
        evaluation.overlap,
        autocast_dtype=autocast_of(card),
        flips=evaluation.test_time_flips,
    )
    if not np.isfinite(probability_zyx).all():
        raise DataError(
            f"the network of loss {card.loss}, fold {card.fold} predicts NaN on volume {volume.id}",
            remedy=f"train it again with training.precision=fp32: `dvc repro -f train@{card.loss}-{card.fold}`",
            value=f"{card.model_name} version {card.model_version}",
        )
    mask: NDArray[np.bool_] = probability_zyx > evaluation.threshold
    return mask


def _brief(measurement: Measurement) -> str:
    shown = [METRICS[name] for name in list(measurement.values)[:2]]
    values = " ".join(f"{metric.title} {measurement.values[metric.name]:.{metric.digits}f}" for metric in shown)
    return f"{values} ({measurement.rule})"
