"""An MLflow server (2.7 and later), read through its REST API: the host side does not have MLflow."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import requests

from capillary.report.registered import Samples
from capillary.report.sources.stored import StoredRun, StoredVersion
from stages.common.errors import ServiceError
from stages.common.preflight.checks.http_requests import mlflow_login
from stages.common.tracking.address import EXPERIMENT

TIMEOUT_S = (3.0, 15.0)  # to connect, to answer
MAX_POINTS = 5000  # of one curve: a sample each ten seconds for half a day
MAX_EVALUATIONS = 50
MAX_PAGES, PAGE = 20, 500  # of versions of one registered model
_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")
_FINGERPRINT = re.compile(r"[0-9a-zA-Z-]{1,128}")  # a card may hold anything, a filter may not


def _understood(ask: Callable[_Given, _Answer]) -> Callable[_Given, _Answer]:
    """`ask`, in which an answer of another form than MLflow's is a ServiceError: other programs answer anything."""

    @functools.wraps(ask)
    def asked(*given: _Given.args, **named: _Given.kwargs) -> _Answer:
        try:
            return ask(*given, **named)
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _unanswered("the answer is not that of an MLflow server", str(error)[:200]) from error

    return asked


class RestStore:
    """The server at `uri`, which may hold credentials; else MLFLOW_TRACKING_USERNAME, _PASSWORD or _TOKEN are used."""

    def __init__(self, uri: str, variables: Mapping[str, str]) -> None:
        self._uri = uri.rstrip("/")
        self._session = requests.Session()
        self._session.headers.update(mlflow_login(variables))

    @_understood
    def run(self, run_id: str) -> StoredRun | None:
        """The run, None when the server does not know it. Raises ServiceError."""
        found = self._ask("GET", "runs/get", {"run_id": run_id})
        if found is None or found.get("run", {}).get("info", {}).get("lifecycle_stage") == "deleted":
            return None
        return _to_run(found.get("run", {}))

    @_understood
    def training(self, fingerprint: str) -> StoredRun | None:
        """The last run of a training with that fingerprint. Raises ServiceError."""
        known = self._ask("GET", "experiments/get-by-name", {"experiment_name": EXPERIMENT})
        if known is None or not _FINGERPRINT.fullmatch(fingerprint):
            return None
        question = {
            "experiment_ids": [known.get("experiment", {}).get("experiment_id")],
            "filter": f"tags.`capillary.fingerprint` = '{fingerprint}'",
            "order_by": ["attributes.start_time DESC"],
            "max_results": 1,
        }
        found = (self._ask("POST", "runs/search", question) or {}).get("runs", [])
        return _to_run(found[0]) if found else None

    @_understood
    def evaluations(self, experiment_id: str) -> list[StoredRun]:
        """The finished runs of the stage evaluate, the newest first. Raises ServiceError."""
        question = {
            "experiment_ids": [experiment_id],
            "filter": "tags.`capillary.stage` = 'evaluate' and attributes.status = 'FINISHED'",
            "order_by": ["attributes.start_time DESC"],
            "max_results": MAX_EVALUATIONS,
        }
        found = self._ask("POST", "runs/search", question) or {}
        return [_to_run(run) for run in found.get("runs", [])]

    @_understood
    def samples(self, run: StoredRun, key: str) -> Samples:
        """The curve of a metric over the seconds since the run's start. Raises ServiceError."""
        question = {"run_id": run.run_id, "metric_key": key, "max_results": MAX_POINTS}
        found = self._ask("GET", "metrics/get-history", question) or {}
        points = sorted(found.get("metrics", []), key=lambda point: int(point.get("step", 0)))
        return tuple(((int(point["timestamp"]) - run.start_ms) / 1000, float(point["value"])) for point in points)

    def url(self, run: StoredRun) -> str:
        """The address at which a browser shows the run, without credentials."""
        scheme, _, rest = self._uri.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}/#/experiments/{run.experiment_id}/runs/{run.run_id}"

    @_understood
    def versions(self, name: str) -> list[StoredVersion]:
        """Every version of the registered model `name`. Raises ServiceError, also where there is no registry."""
        found: list[StoredVersion] = []
        token = ""
        for _ in range(MAX_PAGES):
            page = {"page_token": token} if token else {}
            question = {"filter": f"name = '{name}'", "max_results": PAGE, **page}
            answer = self._ask("GET", "model-versions/search", question)
            if answer is None:
                raise _unanswered("the MLflow server has no model registry", "404")
            found += [_to_version(each) for each in answer.get("model_versions", []) if each.get("name") == name]
            if not (token := answer.get("next_page_token", "")):
                break
        return found

    @_understood
    def aliases(self, name: str) -> dict[str, str]:
        """Alias → number, as the server has it; none from a server without aliases. Raises ServiceError."""
        answer = self._ask("GET", "registered-models/get", {"name": name}) or {}
        listed = answer.get("registered_model", {}).get("aliases", [])
        return {str(one["alias"]): str(one["version"]) for one in listed if one.keys() >= {"alias", "version"}}

    def _ask(self, method: str, endpoint: str, question: dict[str, Any]) -> Any:
        """The answer, None if the server says that there is no such thing."""
        address = f"{self._uri}/api/2.0/mlflow/{endpoint}"
        params, body = (question, None) if method == "GET" else (None, question)
        try:
            answer = self._session.request(method, address, params=params, json=body, timeout=TIMEOUT_S)
            if answer.status_code == requests.codes.not_found:
                return None
            answer.raise_for_status()
            return answer.json()
        except requests.RequestException as error:
            # not the error's own text, which may repeat credentials
            raise _unanswered("the MLflow server does not answer", type(error).__name__) from error


def _to_run(found: dict[str, Any]) -> StoredRun:
    try:
        info = found["info"]
        end = info.get("end_time")
        return StoredRun(
            run_id=info["run_id"],
            experiment_id=info["experiment_id"],
            status=info["status"],
            start_ms=int(info["start_time"]),
            end_ms=int(end) if end else None,
            metrics={metric["key"]: float(metric["value"]) for metric in found["data"].get("metrics", [])},
        )
    except KeyError as error:
        raise _unanswered("the answer is not that of an MLflow server", f"it lacks {error}") from error


def _to_version(found: dict[str, Any]) -> StoredVersion:
    try:
        made = found.get("creation_timestamp")
        return StoredVersion(
            name=str(found["name"]),
            version=int(found["version"]),
            tags={str(tag["key"]): str(tag.get("value", "")) for tag in found.get("tags", [])},
            made_ms=int(made) if made else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unanswered("the server's answer is not MLflow's", f"a version: {error}") from error


def _unanswered(what: str, why: str) -> ServiceError:
    remedy = "check MLFLOW_TRACKING_URI and its credentials, then write the report again"
    return ServiceError(what, remedy=remedy, value=why)
