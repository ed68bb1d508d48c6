"""Runs that tests open and look into, clients that fail, and time that passes only in pauses."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stages.common.runtime import Runtime
from stages.common.tracking import server
from stages.common.tracking.runs import TrackedRun, open_run
from stages.common.tracking.server import Server

CELL = {"loss": "dice_ce", "fold": "0"}
MakeRuntime = Callable[..., Runtime]


def open_quiet(runtime: Runtime, **kwargs: Any) -> TrackedRun:
    """The run of `runtime`, without samples of the load."""
    return open_run(runtime, cell_tags=CELL, run_name="run", system_metrics=False, **kwargs)


def points(run: TrackedRun, key: str) -> list[tuple[int, float]]:
    """(step, value) of every point that the store has."""
    return [(metric.step, metric.value) for metric in run.server.client.get_metric_history(run.run_id, key)]


class Failing:
    """A client whose methods named in `errors` raise what stands there, until `over`; `asked` counts those calls."""

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


def fail(run: TrackedRun, **errors: Exception) -> Failing:
    """Let calls of `run` to its server fail."""
    client = Failing(run.server.client, **errors)
    run.server = Server(client=client, uri=run.server.uri)
    return client


class Clock:
    """Time that passes only while a question waits to be asked again; `pauses_s` lists the waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pauses_s: list[float] = []
        clock = SimpleNamespace(monotonic=lambda: sum(self.pauses_s), sleep=self.pauses_s.append)
        monkeypatch.setattr(server, "time", clock)
