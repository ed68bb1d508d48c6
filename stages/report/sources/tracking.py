"""The MLflow runs behind a report, asked with MLflow's own client: a server, or the embedded store."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from stages.common.cell_name import CellName
from stages.common.errors import CapillaryError, DamagedError, ServiceError, machine_error
from stages.common.runtime import Runtime
from stages.common.text import without_login
from stages.common.tracking.address import EXPERIMENT, read_address
from stages.common.tracking.server import OutageError, RefusedError, Server, connect, http_limits
from stages.report.model import Means, TrackedRun, TrainedCell
from stages.report.registered import Samples

# the curves of stages/common/tracking/system_metrics.py that a report shows
RESOURCES = re.compile(r"system/(process_tree_memory_megabytes|cpu_utilization_percentage|gpu_\w+)")
TIMEOUT_S = 15
PATIENCE_S = 3.0  # a report can do without its runs, and can be written again
MAX_EVALUATIONS = 50
REMEDY = "check MLFLOW_TRACKING_URI and its credentials, then write the report again"
_ANSWER = "answer"
_FINGERPRINT = re.compile(r"[0-9a-zA-Z-]{1,128}")  # a card may hold anything, a filter may not
# what MLflow's client raises for an answer of another form: other programs answer anything
_MISREAD = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """The runs that were found; `missing` says which were not, `failure` why the store could not be asked."""

    runs: tuple[TrackedRun, ...] = ()
    missing: str | None = None
    failure: CapillaryError | None = None

    @property
    def damaged(self) -> DamagedError | None:
        """A store that is there and cannot be read."""
        return self.failure if isinstance(self.failure, DamagedError) else None


@contextlib.contextmanager
def asking(runtime: Runtime) -> Iterator[Server]:
    """The server or embedded store of this project. Whatever goes wrong with it in the block is a CapillaryError.

    A store that does not exist is not created.
    """
    place = without_login(runtime.tracking_uri)
    try:
        if runtime.is_embedded:
            _refuse_missing(Path(read_address(runtime.tracking_uri).database_file))
        with http_limits(timeout_s=TIMEOUT_S, retries=0):
            server = connect(runtime)
        with http_limits(timeout_s=TIMEOUT_S, retries=0):
            yield dataclasses.replace(server, patience_s=PATIENCE_S)
    except (MlflowException, ImportError) as error:  # a database needs its driver
        raise ServiceError(f"MLflow cannot use {place}", value=_first_line(error), remedy=REMEDY) from error
    except OSError as error:
        known = machine_error(error)
        raise known or ServiceError(f"MLflow cannot use {place}", value=error, remedy=REMEDY) from error
    except _MISREAD as error:
        raise ServiceError(f"what answers at {place} is not an MLflow server", remedy=REMEDY) from error


def _refuse_missing(file: Path) -> None:
    if not file.is_file():
        raise ServiceError(
            "MLflow's embedded store cannot be read",
            remedy="run `dvc repro` here first",
            file=file,
            value="the file does not exist",
        )


def _first_line(error: Exception) -> str:
    return without_login(str(error).partition("\n")[0])[:200]


def left_out(error: CapillaryError) -> str:
    """Why something is not in the report, in the words of `error`, without a client's long text about an outage."""
    why = "" if error.value is None or isinstance(error, OutageError) else f" ({error.value})"
    remedy = REMEDY if isinstance(error, OutageError | RefusedError) else error.remedy
    return f"Left out, because {error.what}{why}. Remedy: {remedy}."


def read_runs(trained: Sequence[TrainedCell], metrics: Means, runtime: Runtime, place: str) -> Tracked:
    """The runs of the `trained` networks, and the evaluation that logged `metrics`. `place` names the store."""
    try:
        with asking(runtime) as server:
            return _read(trained, metrics, server, place)
    except CapillaryError as error:
        return Tracked(missing=left_out(error) if trained else None, failure=error)


def _read(trained: Sequence[TrainedCell], metrics: Means, server: Server, place: str) -> Tracked:
    found = [(one.cell, _run_of(one, server)) for one in trained]
    trainings = [_tracked(server, run, cell) for cell, run in found if run is not None]
    experiments = dict.fromkeys(run.info.experiment_id for _, run in found if run is not None)
    known = (run for experiment in experiments for run in _evaluations(experiment, server))
    evaluation = next((run for run in known if _logged(run, metrics)), None)
    lost = [cell.words for cell, run in found if run is None]
    return Tracked(
        runs=tuple(trainings + ([_tracked(server, evaluation, None)] if evaluation else [])),
        missing=f"MLflow at {place} does not have the runs of {', '.join(lost)}." if lost else None,
    )


def _run_of(trained: TrainedCell, server: Server) -> Run | None:
    """By the receipt; without one, or if it is out of date, by the fingerprint of its training."""
    run = _known_run(trained.receipt.run_id, server) if trained.receipt and trained.receipt.run_id else None
    return run or _training(trained.card.fingerprint, server)


def _known_run(run_id: str, server: Server) -> Run | None:
    """The run; None if the server does not know it or it was deleted."""
    try:
        run = server.call(_ANSWER, lambda: server.client.get_run(run_id))
    except RefusedError as error:
        if error.is_unknown:
            return None
        raise
    return None if run.info.lifecycle_stage == "deleted" else run


def _training(fingerprint: str, server: Server) -> Run | None:
    """The last run of a training with that fingerprint."""
    experiment = server.call(_ANSWER, lambda: server.client.get_experiment_by_name(EXPERIMENT))
    if experiment is None or not _FINGERPRINT.fullmatch(fingerprint):
        return None
    found = _search(experiment.experiment_id, f"tags.`capillary.fingerprint` = '{fingerprint}'", 1, server)
    return found[0] if found else None


def _evaluations(experiment_id: str, server: Server) -> list[Run]:
    """The finished runs of the stage evaluate, the newest first."""
    wanted = "tags.`capillary.stage` = 'evaluate' and attributes.status = 'FINISHED'"
    return _search(experiment_id, wanted, MAX_EVALUATIONS, server)


def _search(experiment_id: str, wanted: str, most: int, server: Server) -> list[Run]:
    newest_first = ["attributes.start_time DESC"]
    ask = partial(server.client.search_runs, [experiment_id], wanted, max_results=most, order_by=newest_first)
    return list(server.call(_ANSWER, ask))


def _samples(run: Run, key: str, server: Server) -> Samples:
    """The curve of a metric over the seconds since the run's start."""
    ask = partial(server.client.get_metric_history, run.info.run_id, key)
    points = sorted(server.call(_ANSWER, ask), key=lambda point: point.step)
    start_ms = run.info.start_time
    return tuple(((point.timestamp - start_ms) / 1000, point.value) for point in points if math.isfinite(point.value))


def _tracked(server: Server, run: Run, cell: CellName | None) -> TrackedRun:
    keys = sorted(key for key in run.data.metrics if RESOURCES.fullmatch(key))
    info = run.info
    return TrackedRun(
        run_id=info.run_id,
        loss=cell.loss if cell else None,
        fold=cell.fold if cell else None,
        seed=cell.seed if cell else None,
        status=info.status,
        seconds=None if info.end_time is None else (info.end_time - info.start_time) / 1000,
        url=_url(run, server),
        samples={key: _samples(run, key, server) for key in keys},
    )


def _url(run: Run, server: Server) -> str | None:
    """The address at which a browser shows the run, without credentials; None where there is no server."""
    if not server.uri.startswith(("http://", "https://")):
        return None
    page = without_login(server.uri.rstrip("/"))
    return f"{page}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def _logged(run: Run, metrics: Means) -> bool:
    """Whether `run` is the evaluation that wrote `metrics`: it has the same means, as far as any server's JSON goes."""
    means = {f"{loss}.{name}": one.mean for loss, found in metrics.items() for name, one in found.items()}
    return bool(means) and all(
        mean is None or math.isclose(run.data.metrics.get(key, math.nan), mean, rel_tol=1e-12)
        for key, mean in means.items()
    )
