"""The networks of all cells on their validation volumes, and on those that no fold saw: one row per volume each."""

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.backends.network import PreparedNetwork
from stages.common.backends.settings import BackendSettings, work_voxels
from stages.common.cell_name import CellName, seed_words
from stages.common.device import choose_device
from stages.common.errors import DataError
from stages.common.imaging.volumes import Volume
from stages.common.inference import predict_probability
from stages.common.metrics import METRICS
from stages.common.monitoring.memory_guard import MemoryGuard
from stages.common.program.progress import Steps, progress
from stages.common.registered.finding import FoundNetwork
from stages.common.registered.loading import load_model
from stages.common.runtime import Runtime
from stages.common.tracking.cards.card import ModelCard, address_words
from stages.evaluate.cells import Cell
from stages.evaluate.held_out.rows import ENSEMBLE, HeldOutRow, model_name
from stages.evaluate.held_out.sums import RunningSums
from stages.evaluate.measure import Measurement
from stages.evaluate.params import Evaluation
from stages.evaluate.predictions.masks import HeldOut, OutOfFold, labelled_of, on_own_grid, own_grid, write_mask
from stages.evaluate.predictions.measuring import held_out_row_of, row_of
from stages.evaluate.row import Row
from stages.evaluate.small_parts import ALL_FOLDS, Choice, choose, fixed, parts_of
from stages.evaluate.statistics.calibration import Reliability, VolumeCalibration


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What comes of all cells. `backends` names what computed the stacks."""

    rows: list[Row]
    calibration: list[VolumeCalibration]
    choices: list[Choice]
    held_out: list[HeldOutRow]
    backends: set[str]


def evaluate_cells(
    cells: list[Cell],
    evaluation: Evaluation,
    networks: Mapping[CellName, FoundNetwork],
    runtime: Runtime,
    guard: MemoryGuard,
) -> Evaluated:
    """Predict and measure every volume of every cell with the cell's network.

    At most one network and one whole volume are in memory.

    A size of small parts that is to be chosen needs all predictions first; else each is measured at once. Held-out
    volumes choose nothing: under every network the size is that for stacks that no fold has seen.
    Raises CapillaryError between two volumes when `guard` says that they take too much.
    """
    is_auto = evaluation.chooses_size
    with (
        tempfile.TemporaryDirectory() as folder,
        progress("evaluate", predictions_of(cells) * (2 if is_auto else 1)) as steps,
    ):
        backends: set[str] = set()
        predicted: Iterable[OutOfFold | HeldOut] = _predict_cells(
            cells, evaluation, networks, runtime, Path(folder), backends
        )
        if is_auto:
            predicted = _all_predicted(predicted, guard, steps)
            choices = choose([one.parts for one in predicted if isinstance(one, OutOfFold) and one.parts is not None])
        else:
            choices = fixed(cells, evaluation.fixed_size_um3)
        sizes = {(one.loss, one.fold): one.min_component_um3 for one in choices}
        found = Evaluated(rows=[], calibration=[], choices=choices, held_out=[], backends=backends)
        for one in predicted:
            if isinstance(one, HeldOut):
                row: Row | HeldOutRow = held_out_row_of(one, sizes[one.loss, ALL_FOLDS], evaluation, runtime)
            else:
                row = row_of(one, sizes[one.loss, one.cell.fold], evaluation, runtime)
            _keep(row, one, found)
            guard.raise_if_crossed(_after(one))
            steps.advance(f"{one.words} {_brief(row.measurement)} in {row.seconds:.1f} s")
    return found


def predictions_of(cells: Sequence[Cell]) -> int:
    """How many volumes are predicted and measured, an ensemble's among them."""
    ensembles = sum(len(next(cell for cell in cells if cell.loss == loss).held_out) for loss in _losses(cells))
    return ensembles + sum(len(cell.volumes) + len(cell.held_out) for cell in cells)


def _losses(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.loss for cell in cells))


def _keep(row: Row | HeldOutRow, one: OutOfFold | HeldOut, found: Evaluated) -> None:
    if isinstance(row, Row) and isinstance(one, OutOfFold):
        found.rows.append(row)
        found.calibration.append(
            VolumeCalibration(loss=row.loss, fold=row.fold, id=row.id, reliability=one.reliability, seed=one.cell.seed)
        )
    elif isinstance(row, HeldOutRow):
        found.held_out.append(row)


def _after(one: OutOfFold | HeldOut) -> str:
    fold = f"fold {one.cell.fold}{seed_words(one.cell.seed)}" if isinstance(one, OutOfFold) else one.model
    return f"after volume {one.volume.id} of {one.loss}, {fold}"


def _all_predicted(
    predicted: Iterable[OutOfFold | HeldOut], guard: MemoryGuard, steps: Steps
) -> list[OutOfFold | HeldOut]:
    done = []
    for one in predicted:
        done.append(one)
        guard.raise_if_crossed(_after(one))
        steps.advance(f"{one.words} predicted in {one.seconds:.1f} s")
    return done


def _predict_cells(
    cells: list[Cell],
    evaluation: Evaluation,
    networks: Mapping[CellName, FoundNetwork],
    runtime: Runtime,
    folder: Path,
    backends: set[str],
) -> Iterator[OutOfFold | HeldOut]:
    device = choose_device(runtime.compute)
    settings = BackendSettings(asked=evaluation.backend, threads=runtime.threads)
    for loss in _losses(cells):
        own, sums = [cell for cell in cells if cell.loss == loss], RunningSums(folder)
        for cell in own:
            if not cell.volumes and not cell.held_out:
                continue
            model = PreparedNetwork(load_model(networks[cell.name]).to(device), cell.card, settings)
            for volume in cell.volumes:
                # no name for it here: what a generator names lives on while the next volume is predicted
                yield _predict(model, cell, volume, evaluation, _mask_file(folder, cell.name.place, volume))
            for place, volume in enumerate(cell.held_out):
                file = _mask_file(folder, f"held-out/{cell.name.place}", volume)
                yield _predict_held_out(model, cell, volume, evaluation, file, (sums, place))
            backends |= model.used
            del model  # before the next one is loaded
        for place, volume in enumerate(own[0].held_out):
            file = _mask_file(folder, f"held-out/{loss}/{ENSEMBLE}", volume)
            yield _predict_ensemble(loss, volume, evaluation, file, (sums, place))


def _mask_file(folder: Path, network: str, volume: Volume) -> Path:
    file = folder / network / f"{volume.id}.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _predict(model: PreparedNetwork, cell: Cell, volume: Volume, evaluation: Evaluation, mask_file: Path) -> OutOfFold:
    started = time.monotonic()
    probability = on_own_grid(predict_volume(model, volume, cell.card, evaluation), volume)
    mask, label = probability > evaluation.threshold, volume.native_label().astype(np.bool_)
    labelled = labelled_of(volume)
    write_mask(mask_file, mask)
    choosing = evaluation.chooses_size
    return OutOfFold(
        loss=cell.loss,
        cell=cell,
        volume=volume,
        mask_file=mask_file,
        reliability=Reliability.of(probability, label, labelled),
        parts=parts_of(cell.loss, cell.fold, mask, label, own_grid(volume).spacing_um, labelled) if choosing else None,
        seconds=time.monotonic() - started,
    )


Place = tuple[RunningSums, int]  # where the probabilities of a held-out volume are added up


def _predict_held_out(
    model: PreparedNetwork, cell: Cell, volume: Volume, evaluation: Evaluation, mask_file: Path, place: Place
) -> HeldOut:
    started = time.monotonic()
    probability = predict_volume(model, volume, cell.card, evaluation)
    sums, number = place
    sums.add(number, probability)  # on the arrays' grid, where predict takes the mean, too
    write_mask(mask_file, on_own_grid(probability, volume) > evaluation.threshold)
    return HeldOut(
        loss=cell.loss,
        model=model_name(cell.fold, cell.seed),
        volume=volume,
        mask_file=mask_file,
        seconds=time.monotonic() - started,
    )


def _predict_ensemble(loss: str, volume: Volume, evaluation: Evaluation, mask_file: Path, place: Place) -> HeldOut:
    started = time.monotonic()
    sums, number = place
    write_mask(mask_file, on_own_grid(sums.take_mean(number), volume) > evaluation.threshold)
    seconds = time.monotonic() - started
    return HeldOut(loss=loss, model=ENSEMBLE, volume=volume, mask_file=mask_file, seconds=seconds)


def predict_volume(
    model: PreparedNetwork, volume: Volume, card: ModelCard, evaluation: Evaluation
) -> NDArray[np.float32]:
    """Foreground probability of `volume` on the grid of its arrays, zyx; patches and precision as in its training."""
    image_zyx, flips = volume.image(), evaluation.test_time_flips
    z, y, x = image_zyx.shape
    network, dtype = model.for_work(work_voxels((z, y, x), card.patch_voxels, evaluation.overlap, flips))
    probability_zyx = predict_probability(
        network, image_zyx, card.patch_voxels, evaluation.overlap, autocast_dtype=dtype, flips=flips
    )
    if not np.isfinite(probability_zyx).all():
        raise DataError(
            f"the network of loss {card.loss}, fold {card.fold} predicts NaN on volume {volume.id}",
            remedy=f"set training.precision to fp32 in params.yaml, then train it again: {address_words(card)}",
            value=f"{card.model_name}, weights {card.weights_sha256[:12]}",
        )
    return probability_zyx


def _brief(measurement: Measurement) -> str:
    shown = [METRICS[name] for name in list(measurement.values)[:2] if not isnan(measurement.values[name])]
    values = " ".join(f"{metric.title} {measurement.values[metric.name]:.{metric.digits}f}" for metric in shown)
    return f"{values} ({measurement.rule})"
