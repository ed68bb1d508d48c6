"""An MLflow client without a server: runs in memory, and faults before or after a question takes effect."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from mlflow.exceptions import MlflowException, RestException

AWAY = MlflowException("API request to http://u:p@h failed with exception 503")
REVOKED = RestException({"message": "401 Unauthorized: invalid token"})


def nothing(_what: str) -> None:
    """No fault."""


class FakeMlflow:
    """Keeps runs as MLflow does: a point of equal key, step, time and value once.

    `before` and `after` are asked at each question, and may raise: then it was not heard, or its answer is lost.
    """

    def __init__(self) -> None:
        self.before: Callable[[str], None] = nothing
        self.after: Callable[[str], None] = nothing
        self.runs: dict[str, Any] = {}
        self.artifacts: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(type(self), f"do_{name}")

        def ask(*args: Any, **kwargs: Any) -> Any:
            self.before(name)
            answer = real(self, *args, **kwargs)
            self.after(name)
            return answer

        return ask

    def points(self, run_id: str) -> list[tuple[str, int, float]]:
        """(key, step, value) of every point that the run has."""
        return [(key, step, value) for key, step, _, value in self.runs[run_id].points]

    def do_get_experiment_by_name(self, _name: str) -> Any:
        return SimpleNamespace(experiment_id="1", lifecycle_stage="active")

    def do_search_runs(self, _experiments: list[str], wanted: str, **_: Any) -> list[Any]:
        tags = [part.split("` = '") for part in wanted.replace("tags.`", "").split(" and ") if "` = '" in part]
        return [
            run
            for run in self.runs.values()
            if run.info.lifecycle_stage == "active"
            and all(run.data.tags.get(name) == value.rstrip("'") for name, value in tags)
            and ("status" not in wanted or run.info.status != "FINISHED")
        ]

    def do_create_run(self, _experiment: str, *, start_time: int, tags: dict[str, str], run_name: str) -> Any:
        run_id = f"run-{len(self.runs)}"
        info = SimpleNamespace(
            artifact_uri=f"s3://bucket/{run_id}",
            run_id=run_id,
            status="RUNNING",
            lifecycle_stage="active",
            run_name=run_name,
            experiment_id="1",
        )
        data = SimpleNamespace(tags=dict(tags), params={}, metrics={})
        self.runs[run_id] = SimpleNamespace(info=info, data=data, points=[], start_time=start_time)
        return self.runs[run_id]

    def do_get_run(self, run_id: str) -> Any:
        if run_id not in self.runs:
            raise RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"})
        return self.runs[run_id]

    def do_log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        run = self.do_get_run(run_id)
        if run.info.lifecycle_stage != "active":
            raise RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "the run must be active"})
        for param in params:
            if run.data.params.setdefault(param.key, param.value) != param.value:
                raise RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "changed param"})
        run.data.tags |= {tag.key: tag.value for tag in tags}
        for one in metrics:
            point = (one.key, one.step, one.timestamp, one.value)
            if point not in run.points:
                run.points.append(point)
            run.data.metrics[one.key] = one.value

    def do_get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [SimpleNamespace(step=step) for name, step, _, _ in self.runs[run_id].points if name == key]

    def do_update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id].info.status = status

    def do_set_terminated(self, run_id: str, status: str, end_time: int | None = None) -> None:
        self.runs[run_id].info.status = status

    def do_delete_tag(self, run_id: str, key: str) -> None:
        self.runs[run_id].data.tags.pop(key, None)

    def do_log_artifact(self, run_id: str, file: str, folder: str) -> None:
        self.artifacts.append((run_id, f"{folder}/{file.rpartition('/')[2]}"))
