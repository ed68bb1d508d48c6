"""The networks of all cells on their validation volumes, one row a volume."""

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isnan, prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.grid import resample
from stages.common.imaging.volumes import Grid, Volume
from stages.common.inference import predict_probability
from stages.common.layout import lay_out_for_prediction
from stages.common.metrics import METRICS
from stages.common.monitoring.memory_guard import MemoryGuard
from stages.common.progress import Steps, progress
from stages.common.registered.finding import FoundNetwork
from stages.common.registered.loading import load_model
from stages.common.runtime import Runtime
from stages.common.tracking.registry import ModelCard, autocast_of
from stages.evaluate.cells import Cell
from stages.evaluate.measure import Measurement, measure
from stages.evaluate.params import Evaluation
from stages.evaluate.partial import CellName
from stages.evaluate.row import Row
from stages.evaluate.small_parts import Choice, Parts, choose, fixed, parts_of, without_small
from stages.evaluate.statistics.calibration import Reliability, VolumeCalibration
from stages.evaluate.views import take_views


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """One volume under one network, before small parts are removed; its mask lies in `mask_file`, eight voxels a byte.

    `parts` is None where nobody chooses a size by them.
    """

    cell: Cell
    volume: Volume
    mask_file: Path
    reliability: Reliability
    parts: Parts | None
    seconds: float

    def mask(self) -> NDArray[np.bool_]:
        """The mask on the stack's own grid, zyx."""
        shape = own_grid(self.volume).shape_zyx
        bits = np.unpackbits(np.load(self.mask_file), count=prod(shape))
        return bits.view(np.bool_).reshape(shape)


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What comes of all cells."""

    rows: list[Row]
    calibration: list[VolumeCalibration]
    choices: list[Choice]


def evaluate_cells(
    cells: list[Cell],
    evaluation: Evaluation,
    networks: Mapping[CellName, FoundNetwork],
    runtime: Runtime,
    guard: MemoryGuard,
) -> Evaluated:
    """Predict and measure every volume of every cell with the cell's network.

    At most one network and one whole volume are in memory.

    A size of small parts that is to be chosen needs all predictions first; else each is measured at once.
    Raises CapillaryError between two volumes when `guard` says that they take too much.
    """
    volumes = sum(len(cell.volumes) for cell in cells)
    is_auto = evaluation.chooses_size
    with (
        tempfile.TemporaryDirectory() as folder,
        progress("evaluate", volumes * (2 if is_auto else 1)) as steps,
    ):
        predicted: Iterable[Predicted] = _predict_cells(cells, evaluation, networks, runtime, Path(folder))
        if is_auto:
            predicted = _all_predicted(predicted, guard, steps)
            choices = choose([one.parts for one in predicted if one.parts is not None])
        else:
            choices = fixed(cells, evaluation.fixed_size_um3)
        sizes = {(one.loss, one.fold): one.min_component_um3 for one in choices}
        rows, calibration = [], []
        for one in predicted:
            row = _measure(one, sizes[one.cell.loss, one.cell.fold], evaluation, runtime)
            rows.append(row)
            calibration.append(VolumeCalibration(loss=row.loss, fold=row.fold, id=row.id, reliability=one.reliability))
            guard.raise_if_crossed(f"after volume {row.id} of {row.loss}, fold {row.fold}")
            steps.advance(f"{row.loss} fold {row.fold} {row.id} {_brief(row.measurement)} in {row.seconds:.1f} s")
    return Evaluated(rows=rows, calibration=calibration, choices=choices)


def _all_predicted(predicted: Iterable[Predicted], guard: MemoryGuard, steps: Steps) -> list[Predicted]:
    done = []
    for one in predicted:
        done.append(one)
        guard.raise_if_crossed(f"after volume {one.volume.id} of {one.cell.loss}, fold {one.cell.fold}")
        steps.advance(f"{one.cell.loss} fold {one.cell.fold} {one.volume.id} predicted in {one.seconds:.1f} s")
    return done


def _predict_cells(
    cells: list[Cell],
    evaluation: Evaluation,
    networks: Mapping[CellName, FoundNetwork],
    runtime: Runtime,
    folder: Path,
) -> Iterator[Predicted]:
    device = "cuda" if torch.cuda.is_available() and runtime.compute.device != "cpu" else "cpu"
    for number, cell in enumerate(cells):
        if not cell.volumes:
            continue
        model = load_model(networks[cell.loss, cell.fold]).to(device)
        lay_out_for_prediction(model, autocast_of(cell.card))
        for place, volume in enumerate(cell.volumes):
            # no name for it here: what a generator names lives on while the next volume is predicted
            yield _predict(model, cell, volume, evaluation, folder / f"{number}-{place}.npy")
        del model  # before the next one is loaded


def _predict(model: torch.nn.Module, cell: Cell, volume: Volume, evaluation: Evaluation, mask_file: Path) -> Predicted:
    started = time.monotonic()
    probability = _on_own_grid(predict_volume(model, volume, cell.card, evaluation), volume)
    mask, label = probability > evaluation.threshold, volume.native_label().astype(np.bool_)
    labelled = _labelled(volume)
    np.save(mask_file, np.packbits(mask))
    choosing = evaluation.chooses_size
    return Predicted(
        cell=cell,
        volume=volume,
        mask_file=mask_file,
        reliability=Reliability.of(probability, label, labelled),
        parts=parts_of(cell.loss, cell.fold, mask, label, own_grid(volume).spacing_um, labelled) if choosing else None,
        seconds=time.monotonic() - started,
    )


def _measure(predicted: Predicted, least_um3: float, evaluation: Evaluation, runtime: Runtime) -> Row:
    started = time.monotonic()
    cell, volume = predicted.cell, predicted.volume
    spacing_um = own_grid(volume).spacing_um
    mask = without_small(predicted.mask(), spacing_um, least_um3)
    predicted.mask_file.unlink()
    label, labelled = volume.native_label().astype(np.bool_), _labelled(volume)
    measurement = measure(
        mask,
        label,
        spacing_um,
        metrics=evaluation.metrics,
        nsd_tolerance_um=evaluation.nsd_tolerance_um,
        radius_bands_um=evaluation.radius_bands_um,
        threads=runtime.threads,
        labelled_zyx=labelled,
    )
    return Row(
        loss=cell.loss,
        fold=cell.fold,
        id=volume.id,
        group=volume.group,
        measurement=measurement,
        views=take_views(_on_own_grid(volume.image(), volume), label, mask, spacing_um, labelled),
        weights_sha256=cell.card.weights_sha256,
        seconds=predicted.seconds + time.monotonic() - started,
    )


def _labelled(volume: Volume) -> NDArray[np.bool_] | None:
    """Which voxels of the user's label somebody labelled; None: all."""
    labelled = volume.native_labelled()
    return None if labelled is None else labelled.astype(np.bool_)


def own_grid(volume: Volume) -> Grid:
    """The grid of the user's label, on which everything is measured: that of the arrays, or that before resampling."""
    return volume.native or volume.grid


def _on_own_grid(array_zyx: NDArray[np.float32], volume: Volume) -> NDArray[np.float32]:
    """`array_zyx` as predict brings a probability back: by linear interpolation, before the threshold."""
    return array_zyx if volume.native is None else resample(array_zyx, volume.native.shape_zyx)


def predict_volume(
    model: torch.nn.Module, volume: Volume, card: ModelCard, evaluation: Evaluation
) -> NDArray[np.float32]:
    """Foreground probability of `volume` on the grid of its arrays, zyx; patches and precision as in its training."""
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
            value=f"{card.model_name}, weights {card.weights_sha256[:12]}",
        )
    return probability_zyx


def _brief(measurement: Measurement) -> str:
    shown = [METRICS[name] for name in list(measurement.values)[:2] if not isnan(measurement.values[name])]
    values = " ".join(f"{metric.title} {measurement.values[metric.name]:.{metric.digits}f}" for metric in shown)
    return f"{values} ({measurement.rule})"
