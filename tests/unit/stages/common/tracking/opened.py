"""Runs that tests open and look into, clients that fail, and time that passes only in pauses."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities import Run

from stages.common.runtime import Runtime
from stages.common.tracking import server
from stages.common.tracking.publishing import PUBLISHERS
from stages.common.tracking.runs import TrackedRun, open_run
from stages.common.tracking.server import Server, connect
from stages.common.tracking.spool.destination import Destination
from stages.common.tracking.spool.sending import Sending
from stages.common.tracking.spool.server_run import RECORD_TAG

CELL = {"loss": "dice_ce", "fold": "0"}
MakeRuntime = Callable[..., Runtime]


def open_quiet(runtime: Runtime, **kwargs: Any) -> TrackedRun:
    """The run of `runtime`, without samples of the load."""
    return open_run(runtime, cell_tags=CELL, run_name="run", system_metrics=False, **kwargs)


def arrive(run: TrackedRun) -> None:
    """Wait until the server has all of `run`."""
    assert run._sender is not None
    assert run._sender.settle(lambda: False).is_sent


def killed(run: TrackedRun) -> None:
    """Let go of `run` as a killed process does: nothing is marked, all locks are free."""
    arrive(run)
    run._leave()


def made_of(run: TrackedRun) -> Run:
    """The server's run that `run` became."""
    client = connect(run._runtime).client
    experiment = client.get_experiment_by_name("capillary")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`{RECORD_TAG}` = '{run.id}'")
    return found


def points(run: TrackedRun, key: str) -> list[tuple[int, float]]:
    """(step, value) of every point that the store has."""
    client = connect(run._runtime).client
    return [(metric.step, metric.value) for metric in client.get_metric_history(made_of(run).info.run_id, key)]


def sending(run: TrackedRun, to: Server) -> Sending:
    """The way of the record of `run` to the server `to`, by hand."""
    receipts = run._runtime.receipts
    there = Destination(server=to, artifact_root=None, receipts=receipts, publishers=PUBLISHERS)
    return Sending(run.writer.spool, there, lambda _patience_s: None)


class Failing:
    """A client whose methods named in `errors` raise what is there, until `over`; `asked` counts those calls."""

    def __init__(self, client: Any, **errors: Exception) -> None:
        self.client, self.errors, self.over, self.asked = client, errors, False, 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.client, name)
        if name not in self.errors:
            return real

        def fail(*args: Any, **kwargs: Any) -> Any:
            self.asked += 1
            if not self.over:
                raise self.errors[name]
            return real(*args, **kwargs)

        return fail


class Clock:
    """Time that passes only while a question waits to be asked again; `pauses_s` lists the waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pauses_s: list[float] = []
        clock = SimpleNamespace(monotonic=lambda: sum(self.pauses_s), sleep=self.pauses_s.append)
        monkeypatch.setattr(server, "time", clock)
