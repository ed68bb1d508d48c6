"""The stage's work from top to bottom."""

import tempfile
from collections.abc import Collection
from pathlib import Path

import torch

from stages.common.cell_name import CellName
from stages.common.monitoring.memory_guard import guarding
from stages.common.registered.finding import find_networks, places_of
from stages.common.registered.publishers import PUBLISHERS
from stages.common.runtime import Runtime
from stages.common.tracking.runs import open_run
from stages.common.tracking.system_metrics import LOAD_FILE
from stages.evaluate.cells import read_cells
from stages.evaluate.held_out.rows import summarise_held_out
from stages.evaluate.held_out.showing import print_held_out
from stages.evaluate.held_out.tables import write_held_out
from stages.evaluate.labelled import refuse_unmeasured_lead
from stages.evaluate.networks_first import networks_first
from stages.evaluate.params import EvaluateParams
from stages.evaluate.partial import Coverage, comparable, coverage_of
from stages.evaluate.pictures.overlays import choose, write_overlays
from stages.evaluate.predict import Evaluated, evaluate_cells
from stages.evaluate.provenance import log_provenance
from stages.evaluate.results.outputs import write_bands, write_outputs
from stages.evaluate.results.report import log_results, print_spreads, print_summary
from stages.evaluate.row import first_of_each, over_seeds
from stages.evaluate.small_parts import refuse_too_few_folds, write_choices
from stages.evaluate.statistics.calibration import pooled_by_loss, write_calibration
from stages.evaluate.statistics.paired import compare_losses
from stages.evaluate.statistics.spread import spreads, write_spreads
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
    foreign inputs and ServiceError for a network that neither the registry nor the outbox has, both before anything is
    predicted.
    """
    cells = read_cells(params.training, processed, models, left_out)
    coverage = coverage_of(params.training, processed, left_out)
    refuse_too_few_folds(cells, params.evaluation)
    refuse_unmeasured_lead(cells, params.evaluation)
    _configure_torch(runtime)
    used = [cell for cell in cells if cell.volumes or cell.held_out]
    found = find_networks([cell.card for cell in used], places_of(runtime))
    networks = {cell.name: network for cell, network in zip(used, found, strict=True)}
    with (
        tempfile.TemporaryDirectory() as temporary,
        guarding(runtime.monitoring.memory_abort_gb) as guard,
        open_run(
            runtime,
            cell_tags=_tags_of(params, coverage),
            run_name="partial evaluation" if coverage.is_partial else "evaluation",
            load_file=Path(temporary) / LOAD_FILE,
            publishers=PUBLISHERS,
            first=networks_first(runtime.outbox),
        ) as run,
    ):
        run.log_params(_settings_of(params))
        evaluated = evaluate_cells(cells, params.evaluation, networks, runtime, guard)
        log_provenance(run, used, params, runtime, evaluated.backends)
        rows, first_seed = evaluated.rows, params.training.seed
        averaged = over_seeds(rows)
        summary, spread = summarise(averaged, params.evaluation), spreads(rows, params.evaluation)
        held_out = summarise_held_out(evaluated.held_out, params.evaluation)
        differences = compare_losses(averaged, params.evaluation)
        write_outputs(metrics, rows, summary, differences, coverage, first_seed=first_seed, held_out=held_out)
        write_bands(metrics, rows, params.evaluation.radius_bands_um, first_seed=first_seed)
        write_calibration(metrics, evaluated.calibration, first_seed=first_seed)
        write_choices(metrics, evaluated.choices)
        write_spreads(metrics, spread)
        write_held_out(metrics, evaluated.held_out, params.evaluation)
        shown = summarise(comparable(averaged), params.evaluation)
        write_overlays(metrics, choose(comparable(first_of_each(rows)), shown))
        run.log_metrics(_calibration_errors(evaluated), step=0)
        log_results(run, metrics, rows, summary, held_out)
        if not coverage.is_partial:
            results = Results(cells=cells, rows=rows, summary=summary, differences=differences)
            publish_all(trainings_of(results, params, runtime, processed), [cell.card for cell in cells], run, metrics)
    print_summary(rows, summary, params.evaluation, coverage)
    print_spreads(spread, params.evaluation)
    print_held_out(held_out, params.evaluation)


def _configure_torch(runtime: Runtime) -> None:
    torch.set_num_threads(runtime.threads)
    torch.backends.cudnn.deterministic = True


def _tags_of(params: EvaluateParams, coverage: Coverage) -> dict[str, str]:
    tags = {"losses": ", ".join(params.training.losses)}
    return {**tags, "missing": coverage.words()} if coverage.is_partial else tags


def _calibration_errors(evaluated: Evaluated) -> dict[str, float]:
    pooled = pooled_by_loss(evaluated.calibration)
    return {f"{loss}.calibration_error": found.error for loss, found in pooled.items()}


def _settings_of(params: EvaluateParams) -> dict[str, object]:
    """What was evaluated and how, as the params of the run."""
    training, evaluation = params.training, params.evaluation
    listed = {"losses": training.losses, "folds": training.folds, "seeds": training.every_seed}
    cells = {name: ", ".join(map(str, values)) for name, values in listed.items()}
    return {**cells, **evaluation.model_dump(mode="json"), "metrics": ", ".join(evaluation.metrics)}
