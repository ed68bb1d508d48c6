"""The stage's work from top to bottom."""

import tempfile
from collections.abc import Collection
from pathlib import Path

import torch

from stages.common.monitoring.memory_guard import guarding
from stages.common.runtime import Runtime
from stages.common.tracking.runs import open_run
from stages.common.tracking.system_metrics import LOAD_FILE
from stages.evaluate.cells import read_cells
from stages.evaluate.labelled import refuse_unmeasured_lead
from stages.evaluate.outputs import write_bands, write_outputs
from stages.evaluate.params import EvaluateParams
from stages.evaluate.partial import CellName, comparable, coverage_of
from stages.evaluate.pictures.overlays import choose, write_overlays
from stages.evaluate.predict import evaluate_cells
from stages.evaluate.report import log_results, print_summary
from stages.evaluate.small_parts import refuse_too_few_folds, write_choices
from stages.evaluate.statistics.calibration import pooled_by_loss, write_calibration
from stages.evaluate.statistics.paired import compare_losses
from stages.evaluate.statistics.summary import summarise
from stages.evaluate.trainings import Results, publish_all, trainings_of


def evaluate(
    params: EvaluateParams,
    runtime: Runtime,
    *,
    processed: Path,
    models: Path,
    metrics: Path,
    left_out: Collection[CellName] = (),
) -> None:
    """Evaluate the cells of `params` out of fold; leave tables under `metrics` and an MLflow run "evaluation".

    `processed` is preprocess's folder, `models` holds the cards. Each loss is registered as a training. Without the
    cells in `left_out` the results are marked as partial, and nothing is registered. Raises DataError for missing or
    foreign inputs (before anything is predicted) and ServiceError when MLflow does not answer.
    """
    cells = read_cells(params.training, processed, models, left_out)
    coverage = coverage_of(params.training, processed, left_out)
    refuse_too_few_folds(cells, params.evaluation)
    refuse_unmeasured_lead(cells, params.evaluation)
    torch.set_num_threads(runtime.threads)
    torch.backends.cudnn.deterministic = True
    losses = ", ".join(params.training.losses)
    with (
        tempfile.TemporaryDirectory() as temporary,
        guarding(runtime.monitoring.memory_abort_gb) as guard,
        open_run(
            runtime,
            cell_tags={"losses": losses} | ({"missing": coverage.words()} if coverage.is_partial else {}),
            run_name="partial evaluation" if coverage.is_partial else "evaluation",
            load_file=Path(temporary) / LOAD_FILE,
        ) as run,
    ):
        folds = ", ".join(map(str, params.training.folds))
        settings = params.evaluation.model_dump(mode="json") | {"metrics": ", ".join(params.evaluation.metrics)}
        run.log_params({"losses": losses, "folds": folds, **settings})
        evaluated = evaluate_cells(cells, params.evaluation, run.server, runtime, guard)
        rows = evaluated.rows
        summary = summarise(rows, params.evaluation)
        differences = compare_losses(rows, params.evaluation)
        write_outputs(metrics, rows, summary, differences, coverage)
        write_bands(metrics, rows, params.evaluation.radius_bands_um)
        write_calibration(metrics, evaluated.calibration)
        write_choices(metrics, evaluated.choices)
        shown = comparable(rows)
        write_overlays(metrics, choose(shown, summarise(shown, params.evaluation)))
        pooled = pooled_by_loss(evaluated.calibration)
        run.log_metrics({f"{loss}.calibration_error": found.error for loss, found in pooled.items()}, step=0)
        log_results(run, metrics, rows, summary)
        if not coverage.is_partial:
            results = Results(cells=cells, rows=rows, summary=summary, differences=differences)
            trainings = trainings_of(results, params, runtime, processed)
            publish_all(trainings, [cell.card for cell in cells], run, metrics)
    print_summary(rows, summary, params.evaluation, coverage)
