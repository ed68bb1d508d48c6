"""Load of the machine while a stage runs, as curves of its MLflow run and as a CSV file.

MLflow's collectors are used, its monitor is not: that one ends at the first request that fails, and starts again at
step 0 (doubled points) when the server does not tell it at once where the previous process stopped.
"""

import csv
import io
import threading
from pathlib import Path
from typing import Any

import psutil
from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

from stages.common.monitoring.process_memory import ProcessTree
from stages.common.program.messages import get_logger
from stages.common.tracking.spool.writing import Writer, now_ms

log = get_logger(__name__)

PREFIX = "system/"
SAMPLE_PATIENCE_S = 10.0
LOAD_FILE = "system.csv"
ARTIFACT_FOLDER = "system"
_FIRST_KEY = PREFIX + "cpu_utilization_percentage"


class SystemSampler:
    """A background thread that takes a sample every `interval_s`, and a last one at `stop`. It never fails the stage.

    Samples go to the run and, where `file` is given, to the end of that CSV file.
    """

    def __init__(self, writer: Writer, *, interval_s: float, file: Path | None = None) -> None:
        self.file = file
        self._writer = writer
        self._interval_s = interval_s
        self._monitors = _monitors()
        self._step = writer.next_step(_FIRST_KEY)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="system metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling; waits for a sample that is being taken."""
        self._stop.set()
        self._thread.join(SAMPLE_PATIENCE_S)

    def _sample_until_stopped(self) -> None:
        psutil.cpu_percent()  # the first call of a process measures nothing; later ones the time since the last
        while not self._stop.wait(self._interval_s):
            self._take_sample()
        self._take_sample()

    def _take_sample(self) -> None:
        time_ms = now_ms()
        sample = _sample(self._monitors)
        step, self._step = self._step, self._step + 1
        try:
            if self.file is not None:
                append_row(self.file, {"unix_time_s": time_ms / 1000, **sample})
        except OSError as error:
            log.warning(f"a sample of the system metrics is lost to {self.file}: {error}")
        self._writer.add_points({PREFIX + key: value for key, value in sample.items()}, step, time_ms)


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
