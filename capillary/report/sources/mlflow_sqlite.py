"""MLflow's embedded store, read only and without MLflow: the host side does not have it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from capillary.report.registered import Samples
from capillary.report.sources.stored import StoredRun, StoredVersion
from stages.common.errors import ServiceError

_RUN = "SELECT run_uuid, experiment_id, status, start_time, end_time FROM runs "
_KNOWN = _RUN + "WHERE run_uuid = ? AND lifecycle_stage = 'active'"
_EVALUATIONS = (
    _RUN + "JOIN tags USING (run_uuid) WHERE experiment_id = ? AND lifecycle_stage = 'active' AND status = 'FINISHED' "
    "AND tags.key = 'capillary.stage' AND tags.value = 'evaluate' ORDER BY start_time DESC"
)
_TRAINING = (
    _RUN + "JOIN tags USING (run_uuid) WHERE lifecycle_stage = 'active' "
    "AND tags.key = 'capillary.fingerprint' AND tags.value = ? ORDER BY start_time DESC LIMIT 1"
)
_LATEST = "SELECT key, value FROM latest_metrics WHERE run_uuid = ? AND NOT is_nan"
_HISTORY = "SELECT timestamp, value FROM metrics WHERE run_uuid = ? AND key = ? AND NOT is_nan ORDER BY step"

_VERSIONS = "SELECT version, creation_time FROM model_versions WHERE name = ? AND current_stage <> 'Deleted_Internal'"
_VERSION_TAGS = "SELECT version, key, value FROM model_version_tags WHERE name = ?"
_ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"


class SqliteStore:
    """The database of `sqlite:///…`. A browser cannot look at it without a server, so runs have no address."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def run(self, run_id: str) -> StoredRun | None:
        """The run, None when the database does not know it. Raises ServiceError."""
        found = self._ask(_KNOWN, run_id)
        return self._to_run(found[0]) if found else None

    def training(self, fingerprint: str) -> StoredRun | None:
        """The last run of a training with that fingerprint. Raises ServiceError."""
        found = self._ask(_TRAINING, fingerprint)
        return self._to_run(found[0]) if found else None

    def evaluations(self, experiment_id: str) -> list[StoredRun]:
        """The finished runs of the stage evaluate, the newest first. Raises ServiceError."""
        return [self._to_run(row) for row in self._ask(_EVALUATIONS, experiment_id)]

    def samples(self, run: StoredRun, key: str) -> Samples:
        """The curve of a metric over the seconds since the run's start. Raises ServiceError."""
        points = self._ask(_HISTORY, run.run_id, key)
        return tuple(((time_ms - run.start_ms) / 1000, value) for time_ms, value in points)

    def url(self, run: StoredRun) -> None:
        """There is none."""

    def versions(self, name: str) -> list[StoredVersion]:
        """Every version of the registered model `name`. Raises ServiceError."""
        told: dict[int, dict[str, str]] = {}
        for version, key, value in self._ask(_VERSION_TAGS, name):
            told.setdefault(version, {})[key] = value or ""
        return [
            StoredVersion(name=name, version=version, tags=told.get(version, {}), made_ms=made_ms)
            for version, made_ms in self._ask(_VERSIONS, name)
        ]

    def aliases(self, name: str) -> dict[str, str]:
        """Alias → number. Raises ServiceError."""
        return {alias: str(version) for alias, version in self._ask(_ALIASES, name)}

    def _to_run(self, row: tuple[Any, ...]) -> StoredRun:
        run_id, experiment_id, status, start_ms, end_ms = row
        return StoredRun(
            run_id=run_id,
            experiment_id=str(experiment_id),
            status=status,
            start_ms=start_ms,
            end_ms=end_ms,
            metrics=dict(self._ask(_LATEST, run_id)),
        )

    def _ask(self, question: str, *values: str) -> list[Any]:
        if not self._file.is_file():
            raise _unanswered("there is no such file", self._file)
        try:
            with closing(sqlite3.connect(f"file:{quote(str(self._file))}?mode=ro", uri=True, timeout=5)) as database:
                return database.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise _unanswered(str(error), self._file) from error


def _unanswered(why: str, file: Path) -> ServiceError:
    return ServiceError(
        "MLflow's embedded store cannot be read", remedy="run `dvc repro` here first", file=file, value=why
    )
