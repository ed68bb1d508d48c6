"""Load of the machine while a stage runs, as curves of its MLflow run and as a CSV file.

MLflow's collectors are used, its monitor is not: that one ends at the first request that fails, and starts again at
step 0 (doubled points) when the server does not tell it at once where the former process stopped.
"""

import csv
import io
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from mlflow.entities import Metric
from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

from stages.common.errors import ServiceError
from stages.common.monitoring.process_memory import ProcessTree
from stages.common.progress import say
from stages.common.tracking.server import Server, settled

PREFIX = "system/"
PATIENCE_S = 5.0
LOAD_FILE = "system.csv"
ARTIFACT_FOLDER = "system"
_FIRST_KEY = PREFIX + "cpu_utilization_percentage"


class SystemSampler:
    """A background thread that takes a sample every `interval_s`, and a last one at `stop`. It never fails the stage.

    Samples go to the MLflow run and, where `file` is given, to the end of that CSV file.
    """

    def __init__(
        self, server: Server, run_id: str, *, continued: bool, interval_s: float, file: Path | None = None
    ) -> None:
        self._server = server
        self._run_id = run_id
        self._interval_s = interval_s
        self._file = file
        self._monitors = _monitors()
        self._step = self._next_step() if continued else 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="system metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling; waits for a sample that is on its way, not longer than its patience."""
        self._stop.set()
        self._thread.join(2 * PATIENCE_S)

    def upload(self) -> None:
        """Log the file as an artifact of the run."""
        if self._file is None or not self._file.exists():
            return
        log = partial(self._server.client.log_artifact, self._run_id, str(self._file), ARTIFACT_FOLDER)
        try:
            with settled(self._server):
                self._server.call("take the file of the system metrics", log, PATIENCE_S)
        except ServiceError as error:
            say(f"the file of the system metrics is not logged: {error.what}")

    def _next_step(self) -> int:
        ask = self._server.client.get_metric_history
        known = self._server.call("list points", lambda: ask(self._run_id, _FIRST_KEY))
        return max((metric.step + 1 for metric in known), default=0)

    def _sample_until_stopped(self) -> None:
        psutil.cpu_percent()  # the first call of a process measures nothing; later ones the time since the last
        while not self._stop.wait(self._interval_s):
            self._take_sample()
        self._take_sample()

    def _take_sample(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        sample = _sample(self._monitors)
        metrics = [Metric(PREFIX + key, value, now_ms, self._step) for key, value in sample.items()]
        log = partial(self._server.client.log_batch, self._run_id, metrics=metrics)
        self._step += 1
        try:
            if self._file is not None:
                append_row(self._file, {"unix_time_s": now_ms / 1000, **sample})
            self._server.call("log a sample", log, PATIENCE_S)
        except ServiceError as error:
            say(f"a sample of the system metrics is lost: {error.what}")
        except OSError as error:
            say(f"a sample of the system metrics is lost: {error}")


def append_row(file: Path, row: dict[str, float]) -> None:
    """Add `row` to a CSV file, under the columns that it has; a new file gets those of the row.

    A resumed stage may see other GPUs than the one that began the file: what has no column is left out.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(",".join(row) + "\n")
    with file.open("r+", newline="") as stream:
        columns = stream.readline().strip().split(",")
        stream.seek(0, io.SEEK_END)
        csv.DictWriter(stream, columns, restval="", extrasaction="ignore", lineterminator="\n").writerow(row)


class ProcessTreeMonitor(BaseMetricsMonitor):
    """Resident memory of this process and its descendants (loader workers), in megabytes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # MLflow
        self._tree = ProcessTree()

    def collect_metrics(self) -> None:
        """Keep one sample."""
        self._metrics["process_tree_memory_megabytes"].append(self._tree.rss_bytes() / 1e6)

    def aggregate_metrics(self) -> dict[str, float]:
        """The mean of the samples kept."""
        return {key: round(sum(values) / len(values), 1) for key, values in self._metrics.items()}


def _monitors() -> list[Any]:  # MLflow's collectors are not typed
    kinds: list[Any] = [CPUMonitor, DiskMonitor, ProcessTreeMonitor]
    monitors = [kind() for kind in kinds]
    gpu: Any = GPUMonitor
    try:
        return [*monitors, gpu()]
    except (ImportError, RuntimeError):  # no nvidia-ml-py, or no GPU
        return monitors


def _sample(monitors: list[Any]) -> dict[str, float]:
    sample: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        sample |= monitor.aggregate_metrics()
        monitor.clear_metrics()
    return {key: float(value) for key, value in sample.items()}
