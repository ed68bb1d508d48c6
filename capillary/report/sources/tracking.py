"""The MLflow runs behind a report: which store holds them, and what is asked of it."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from capillary.report.model import Card, Interval, TrackedRun
from capillary.report.registered import Samples
from capillary.report.sources.mlflow_rest import RestStore
from capillary.report.sources.mlflow_sqlite import SqliteStore
from capillary.report.sources.stored import StoredRun, StoredVersion
from capillary.settings import Settings
from stages.common.errors import CapillaryError, DamagedError, ServiceError
from stages.common.tracking.address import EMBEDDED, StoreKind, read_address, without_login
from stages.common.tracking.database_file import refuse_damaged_database

# the curves of stages/common/tracking/system_metrics.py that a report shows
RESOURCES = re.compile(r"system/(process_tree_memory_megabytes|cpu_utilization_percentage|gpu_\w+)")


class Store(Protocol):
    """Where runs are kept. Each question raises ServiceError when it is not answered."""

    def run(self, run_id: str) -> StoredRun | None:
        """The run, None when the store does not know it."""

    def training(self, fingerprint: str) -> StoredRun | None:
        """The last run of a training with that fingerprint, None when the store has none."""

    def evaluations(self, experiment_id: str) -> Sequence[StoredRun]:
        """The finished runs of the stage evaluate, the newest first."""

    def samples(self, run: StoredRun, key: str) -> Samples:
        """The curve of a metric over the seconds since the run's start."""

    def url(self, run: StoredRun) -> str | None:
        """The address at which a browser shows the run."""

    def versions(self, name: str) -> Sequence[StoredVersion]:
        """Every version of the registered model `name`, none where there is no such model."""

    def aliases(self, name: str) -> Mapping[str, str]:
        """Alias → number of a version of the registered model `name`."""


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """The runs that were found; `missing` says what was not, `damaged` is a store that is there and cannot be read."""

    place: str
    runs: tuple[TrackedRun, ...]
    missing: str | None
    damaged: DamagedError | None = None


def read_runs(
    cards: Sequence[Card], metrics: Mapping[str, Mapping[str, Interval]], settings: Settings, root: Path
) -> Tracked:
    """The runs that the cards name, and the evaluation that logged `metrics`."""
    place = without_login(settings.variables.get("MLFLOW_TRACKING_URI", EMBEDDED))
    try:
        store = open_store(settings, root)
        found = [(card, _run_of(card, store)) for card in cards]
        trainings = [_tracked(store, run, card) for card, run in found if run is not None]
        experiments = dict.fromkeys(run.experiment_id for _, run in found if run is not None)
        known = (run for experiment in experiments for run in store.evaluations(experiment))
        evaluation = next((run for run in known if _logged(run, metrics)), None)
        runs = trainings + ([_tracked(store, evaluation, None)] if evaluation else [])
    except CapillaryError as error:
        why = "" if error.value is None else f" ({error.value})"
        unread = f"Left out, because {error.what}{why}. Remedy: {error.remedy}."
        return Tracked(place=place, runs=(), missing=unread, damaged=error if isinstance(error, DamagedError) else None)
    lost = [card.cell.words for card, run in found if run is None]
    missing = f"MLflow at {place} does not have the runs of {', '.join(lost)}." if lost else None
    return Tracked(place=place, runs=tuple(runs), missing=missing)


def store_uri(settings: Settings, root: Path) -> str:
    """The address of the store as stages know it: that of an embedded one is absolute."""
    address = read_address(settings.variables.get("MLFLOW_TRACKING_URI", EMBEDDED))
    if address.kind is not StoreKind.EMBEDDED:
        return address.uri
    file = root / address.database_file
    return f"sqlite:///{file.parent.resolve() / file.name}"


def _run_of(card: Card, store: Store) -> StoredRun | None:
    """By the receipt; without one, or where it is no longer true, by the fingerprint of its training."""
    run = store.run(card.run_id) if card.run_id else None
    return run or store.training(card.fingerprint)


def open_store(settings: Settings, root: Path) -> Store:
    """The store of this project, not asked anything yet. Raises CapillaryError for one that a host cannot read."""
    uri = settings.variables.get("MLFLOW_TRACKING_URI", EMBEDDED)
    if uri.startswith("sqlite:///"):
        file = root / read_address(uri).database_file
        refuse_damaged_database(file)
        return SqliteStore(file)
    if uri.startswith(("http://", "https://")):
        return RestStore(uri, settings.variables)
    raise ServiceError(
        "MLflow's runs can only be read from a server (http, https) or a SQLite file",
        remedy="set MLFLOW_TRACKING_URI to the server's address",
        value=uri.partition(":")[0],
    )


def _tracked(store: Store, run: StoredRun, card: Card | None) -> TrackedRun:
    keys = sorted(key for key in run.metrics if RESOURCES.fullmatch(key))
    return TrackedRun(
        run_id=run.run_id,
        loss=card.loss if card else None,
        fold=card.fold if card else None,
        seed=card.seed if card else None,
        status=run.status,
        seconds=run.seconds,
        url=store.url(run),
        samples={key: store.samples(run, key) for key in keys},
    )


def _logged(run: StoredRun, metrics: Mapping[str, Mapping[str, Interval]]) -> bool:
    """Whether `run` is the evaluation that wrote `metrics`: it has the same means, as far as any server's JSON goes."""
    means = {f"{loss}.{name}": one.mean for loss, found in metrics.items() for name, one in found.items()}
    return bool(means) and all(
        mean is None or math.isclose(run.metrics.get(key, math.nan), mean, rel_tol=1e-12) for key, mean in means.items()
    )
