"""What was evaluated as trainings, one for each loss, and their way into the registry."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet

from stages.common.errors import DataError
from stages.common.imaging.volumes import MANIFEST
from stages.common.metrics import METRICS
from stages.common.program.messages import get_logger
from stages.common.registered.publishers import TRAINING_KIND
from stages.common.registered.trainings import training as form
from stages.common.registered.trainings.mixing import refuse_mixed
from stages.common.registered.trainings.training import Training, finite, training_id, training_json
from stages.common.runtime import BY_HAND, Runtime
from stages.common.splits import SPLITS, read_splits
from stages.common.statistics.results import Difference
from stages.common.tracking.cards.card import ModelCard
from stages.common.tracking.runs import TrackedRun
from stages.evaluate.cells import Cell
from stages.evaluate.params import EvaluateParams, Evaluation
from stages.evaluate.row import Row
from stages.evaluate.statistics.summary import Summary

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Results:
    """What evaluate found: rows, means, and differences of losses."""

    cells: Sequence[Cell]
    rows: Sequence[Row]
    summary: Summary
    differences: Sequence[Difference]


def trainings_of(results: Results, params: EvaluateParams, runtime: Runtime, processed: Path) -> list[Training]:
    """One training for each loss. The best by the first metric stands for champion, unless it is a rehearsal.

    Fewer folds than there are make a rehearsal: the mean runs over other volumes than that of all folds.
    """
    rehearsal = runtime.rehearsal or len(params.training.folds) < len(read_splits(processed / SPLITS))
    best = best_loss(results.summary, params.evaluation)
    labels = _label_hashes(processed)
    return [
        Training(
            id=training_id(_fingerprint(cell.card) for cell in results.cells if cell.loss == loss),
            registered_model=runtime.registered_model,
            loss=loss,
            rehearsal=rehearsal,
            stands=loss == best and not rehearsal,
            cells=tuple(_cell(cell.card) for cell in results.cells if cell.loss == loss),
            metrics=params.evaluation.metrics,
            summary=means,
            volumes=tuple(_volume(row, labels, params.training.seed) for row in results.rows if row.loss == loss),
            settings=_settings(params.evaluation),
            rivals=tuple(_rivals(loss, results, params.evaluation.metrics[0])),
        )
        for loss, means in results.summary.items()
    ]


def best_loss(summary: Summary, evaluation: Evaluation) -> str | None:
    """The loss with the best mean of the first metric, the first of equals; None if it was measured under none."""
    lead = METRICS[evaluation.metrics[0]]
    means = {loss: mean for loss, found in summary.items() if (mean := found[lead.name].mean) is not None}
    return max(means, key=lambda loss: -means[loss] if lead.less_is_better else means[loss], default=None)


def publish_all(trainings: Sequence[Training], cards: Sequence[ModelCard], run: TrackedRun, metrics: Path) -> None:
    """Register `trainings`, each with the tables in `metrics`, now or later.

    Cells of different trainings are named and not registered.
    """
    tables = {name: (metrics / name).read_bytes() for name in form.TABLES}
    for training in trainings:
        try:
            refuse_mixed([card for card in cards if card.loss == training.loss])
        except DataError as error:
            log.warning(f"{training.loss} is not registered as a training: {error.what} ({error.value})")
            continue
        run.publish(TRAINING_KIND, {form.FILE: training_json(training), **tables})


def _fingerprint(card: ModelCard) -> str:
    # without the launcher nothing says what a network was trained with, and the network stands for itself
    return card.weights_sha256 if card.fingerprint == BY_HAND else card.fingerprint


def _cell(card: ModelCard) -> form.Cell:
    return form.Cell(
        loss=card.loss,
        fold=card.fold,
        seed=card.seed or 0,
        fingerprint=_fingerprint(card),
        weights_sha256=card.weights_sha256,
        files={name: form.File(sha256=file.sha256, bytes=file.bytes) for name, file in card.files.items()},
    )


def _volume(row: Row, labels: dict[str, str], first_seed: int) -> form.VolumeResult:
    return form.VolumeResult(
        id=row.id,
        group=row.group,
        fold=row.fold,
        seed=first_seed if row.seed is None else row.seed,
        label_sha256=labels[row.id],
        values={name: finite(value) for name, value in row.measurement.values.items()},
    )


def _settings(evaluation: Evaluation) -> form.Settings:
    names = form.Settings.model_fields
    return form.Settings(**{name: value for name, value in evaluation.model_dump().items() if name in names})


def _rivals(loss: str, results: Results, metric: str) -> Iterator[form.Rival]:
    """The other losses, in their order, each with the difference as seen from `loss`."""
    for other, means in results.summary.items():
        if other == loss:
            continue
        found: dict[str, float | None] = dict.fromkeys(("difference", "ci_low", "ci_high"))
        for one in (each for each in results.differences if each.metric == metric):
            if (one.loss, one.other) == (loss, other):
                found = {"difference": one.difference, "ci_low": one.ci_low, "ci_high": one.ci_high}
            elif (one.loss, one.other) == (other, loss):
                found = {"difference": -one.difference, "ci_low": _less(one.ci_high), "ci_high": _less(one.ci_low)}
        yield form.Rival(loss=other, mean=means[metric].mean, **found)


def _less(value: float | None) -> float | None:
    return None if value is None else -value


def _label_hashes(processed: Path) -> dict[str, str]:
    """Id → hash of the volume's label on the grid on which it came, and of which voxels are labelled."""
    columns = ("native_label_sha256", "label_sha256", "native_labelled_sha256", "labelled_sha256")
    found = {}
    for record in pyarrow.parquet.read_table(processed / MANIFEST).to_pylist():
        native, label, native_labelled, labelled = (record.get(name) or "" for name in columns)
        text = f"{native or label} {native_labelled or labelled}"
        found[record["id"]] = hashlib.sha256(text.encode()).hexdigest()
    return found
