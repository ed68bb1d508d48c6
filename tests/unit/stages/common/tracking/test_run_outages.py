"""Runs whose server is away or refuses: what waits, what is raised, and what stops nothing."""

from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException

from stages.common.errors import DataError, ServiceError
from stages.common.tracking import runs
from stages.common.tracking.runs import START_PATIENCE_S
from stages.common.tracking.server import RefusedError
from tests.unit.stages.common.tracking.opened import Clock, MakeRuntime, fail, open_quiet, points

AWAY = MlflowException("API request to http://u:p@h failed with exception 503")


def test_an_outage_in_mid_training_loses_no_point_and_stops_nothing(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the server is away points wait; when it is back they arrive with the next step."""
    monkeypatch.setattr(runs, "STEP_PATIENCE_S", 0.0)
    run = open_quiet(make_runtime())
    outage = fail(run, log_batch=AWAY)
    run.log_metrics({"loss": 1.0}, 0)
    run.log_metrics({"loss": 0.9}, 1)
    assert points(run, "loss") == []
    outage.over = True
    run.log_metrics({"loss": 0.8}, 2)
    assert points(run, "loss") == [(0, 1.0), (1, 0.9), (2, 0.8)]
    said = capsys.readouterr().out
    assert "2 points wait" in said
    assert "u:p" not in said


@pytest.mark.parametrize("how", ["log_metrics", "backfill"])
def test_a_refusal_in_mid_training_is_raised_at_once(make_runtime: MakeRuntime, how: str) -> None:
    """A server that will never take the points must not let a training run to its end for nothing."""
    run = open_quiet(make_runtime())
    refusing = fail(run, log_batch=RestException({"error_code": "PERMISSION_DENIED", "message": "read only"}))
    with pytest.raises(RefusedError) as caught:
        run.log_metrics({"loss": 1.0}, 0) if how == "log_metrics" else run.backfill({0: {"loss": 1.0}})
    assert caught.value.error_code == "PERMISSION_DENIED"
    assert refusing.asked == 1


def test_finish_refuses_to_end_a_run_whose_points_are_lost(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is never FINISHED with points missing: the error says that the server does not answer."""
    monkeypatch.setattr(runs, "STEP_PATIENCE_S", 0.0)
    monkeypatch.setattr(runs, "PATIENCE_S", 0.0)
    run = open_quiet(make_runtime())
    fail(run, log_batch=AWAY)
    run.log_metrics({"loss": 1.0}, 0)
    with pytest.raises(ServiceError, match="does not log metrics"):
        run.finish()
    assert run.server.client.get_run(run.run_id).info.status == "RUNNING"


@pytest.mark.parametrize("method", ["log_batch", "set_tag", "set_terminated"])
def test_a_server_that_is_away_hides_no_failure(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    """The user reads what failed; that the run could not be marked is said beside it."""
    monkeypatch.setattr(runs, "STEP_PATIENCE_S", 0.0)
    run = open_quiet(make_runtime())
    fail(run, **{method: AWAY})

    def train() -> None:
        with run:
            run.log_metrics({"loss": 1.0}, 0)
            raise DataError("the label is empty", remedy="x")

    with pytest.raises(DataError, match="the label is empty"):
        train()
    assert "could not be marked as FAILED" in capsys.readouterr().out


def test_a_stage_whose_server_does_not_answer_is_told_so_soon(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong address costs seconds and not minutes: requests are short, and no pause ends after START_PATIENCE_S."""
    clock = Clock(monkeypatch)
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda *_: (_ for _ in ()).throw(AWAY))
    with pytest.raises(ServiceError, match="does not answer"):
        open_quiet(make_runtime())
    assert START_PATIENCE_S / 2 < sum(clock.pauses_s) <= START_PATIENCE_S <= 20


def test_a_deleted_experiment_is_named_with_its_remedy(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow takes no run in it, and no second one of its name."""
    deleted = SimpleNamespace(lifecycle_stage="deleted", experiment_id="1")
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda *_: deleted)
    with pytest.raises(ServiceError, match="is deleted") as caught:
        open_quiet(make_runtime())
    assert "restore" in caught.value.remedy


@pytest.mark.parametrize("code", ["RESOURCE_ALREADY_EXISTS", "PERMISSION_DENIED"])
def test_an_experiment_that_another_cell_created_meanwhile_is_used(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """Both found none; the slower one finds it now. Another refusal to create it is one."""
    open_quiet(make_runtime())
    find, asked = MlflowClient.get_experiment_by_name, []

    def none_at_first(client: MlflowClient, name: str) -> Any:
        asked.append(name)
        return None if len(asked) == 1 else find(client, name)

    def refuse(*_: object, **__: object) -> None:
        raise RestException({"error_code": code, "message": "no"})

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", none_at_first)
    monkeypatch.setattr(MlflowClient, "create_experiment", refuse)
    if code == "RESOURCE_ALREADY_EXISTS":
        assert open_quiet(make_runtime()).run_id
        assert len(asked) == 2
    else:
        with pytest.raises(RefusedError):
            open_quiet(make_runtime())
