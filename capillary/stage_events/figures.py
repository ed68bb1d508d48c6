"""A stage's figures for Prometheus, pushed to a Pushgateway: the launcher lives for one stage, too short to be read."""

from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

from capillary.stage_events.project import project_name
from capillary.stage_events.stage_run import StageRun

JOB = "capillary"
PUSH_TIMEOUT_S = 1.5


class Gateway:
    """The figures of one run of a stage, in a group by project and stage: the next run takes their place."""

    def __init__(self, run: StageRun, address: str) -> None:
        self._address = address
        self._group = {"project": project_name(run.root), "stage": run.address}
        self._started: datetime | None = None
        self.registry = CollectorRegistry()
        self._running = self._gauge("running", "1 while the stage runs, else 0")
        self._start = self._gauge("start_timestamp_seconds", "when the stage began")
        self._seen = self._gauge("seen_timestamp_seconds", "when the stage was last known to run, or ended")
        self._seconds = self._gauge("seconds", "how long the stage has run")

    def start(self, at: datetime) -> None:
        """It runs; the figures of its last run are gone."""
        self._started = at
        self._start.set(at.timestamp())
        self._push(1, at)

    def beat(self, at: datetime) -> None:
        """It still runs. A launcher that was killed sends no more of these."""
        self._push(1, at)

    def end(self, code: int, at: datetime) -> None:
        """It ended, with an exit code of docs/exit-codes.md."""
        self._gauge("exit_code", "how the stage ended: 0 well, 130 and 143 stopped").set(code)
        self._push(0, at)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"capillary_stage_{name}", meaning, registry=self.registry)

    def _push(self, running: int, at: datetime) -> None:
        assert self._started is not None, "start comes first"
        self._running.set(running)
        self._seen.set(at.timestamp())
        self._seconds.set((at - self._started).total_seconds())
        push_to_gateway(self._address, JOB, self.registry, grouping_key=self._group, timeout=PUSH_TIMEOUT_S)
