"""The load of the machine as curves and as a file of a run."""

import csv
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from stages.common.monitoring.process_memory import ProcessTree
from stages.common.runtime import Monitoring
from stages.common.tracking.runs import open_run
from stages.common.tracking.server import Server
from stages.common.tracking.system_metrics import PATIENCE_S, SystemSampler, append_row
from tests.unit.stages.common.tracking.opened import CELL, Clock, Failing, MakeRuntime, open_quiet, points


class _Counting:
    """A client that lets a test wait for samples."""

    def __init__(self, client: Any) -> None:
        self.client, self.samples = client, threading.Semaphore(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def log_batch(self, *args: Any, **kwargs: Any) -> None:
        self.client.log_batch(*args, **kwargs)
        self.samples.release()


def test_system_metrics_continue_their_steps_after_a_kill(make_runtime: MakeRuntime, tmp_path: Path) -> None:
    """CPU, disk and the memory of the process tree are sampled; a second process appends, no step comes twice.

    The file holds the same points as the server. Each process takes a last sample at its end.
    """
    run, file = open_quiet(make_runtime()), tmp_path / "state" / "system.csv"
    began_s = time.time()
    for continued in (False, True):
        client = _Counting(run.server.client)
        server = Server(client=client, uri=run.server.uri)
        sampler = SystemSampler(server, run.run_id, continued=continued, interval_s=0.01, file=file)
        for _ in range(2):
            client.samples.acquire()
        sampler.stop()
        assert "system metrics" not in {thread.name for thread in threading.enumerate()}
    for key in ("cpu_utilization_percentage", "disk_usage_percentage", "process_tree_memory_megabytes"):
        steps = [step for step, _ in points(run, f"system/{key}")]
        assert steps == list(range(len(steps)))
        assert len(steps) >= 6
    memory = [value for _, value in points(run, "system/process_tree_memory_megabytes")]
    assert memory[0] == pytest.approx(ProcessTree().rss_bytes() / 1e6, rel=0.5)
    with file.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["process_tree_memory_megabytes"]) for row in rows] == memory
    times_s = [float(row["unix_time_s"]) for row in rows]
    assert times_s == sorted(times_s)
    assert began_s - 1 <= times_s[0]
    assert times_s[-1] <= time.time()


def test_a_server_that_takes_no_samples_costs_samples_and_not_the_stage(
    make_runtime: MakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is said to be lost; the file has them all the same, and a file that is not taken is said, too."""
    clock = Clock(monkeypatch)
    run, file = open_quiet(make_runtime()), tmp_path / "system.csv"
    gone = MlflowException("503")
    client = Failing(run.server.client, log_batch=gone, log_artifact=gone)
    server = Server(client=client, uri=run.server.uri)
    sampler = SystemSampler(server, run.run_id, continued=False, interval_s=60, file=file)
    sampler.stop()
    sampler.upload()
    assert sum(clock.pauses_s) <= 2 * PATIENCE_S
    assert len(file.read_text().splitlines()) == 2
    said = capsys.readouterr().out
    assert "a sample of the system metrics is lost" in said
    assert "the file of the system metrics is not logged" in said


def test_a_run_that_was_never_sampled_begins_at_step_0(make_runtime: MakeRuntime, tmp_path: Path) -> None:
    """A resumed run has its own points, and may have none of the load."""
    run = open_quiet(make_runtime())
    run.log_metrics({"loss": 1.0}, 5)
    SystemSampler(run.server, run.run_id, continued=True, interval_s=60, file=tmp_path / "system.csv").stop()
    assert [step for step, _ in points(run, "system/cpu_utilization_percentage")] == [0]


@pytest.mark.parametrize(("asked", "interval_s", "samples"), [(True, 60.0, 1), (True, None, 0), (False, 60.0, 0)])
def test_the_load_is_sampled_where_the_stage_and_the_profile_ask_for_it(
    make_runtime: MakeRuntime, asked: bool, interval_s: float | None, samples: int
) -> None:
    """`off` in the profile starts no thread."""
    runtime = make_runtime(monitoring=Monitoring(interval_s=interval_s))
    with open_run(runtime, cell_tags=CELL, run_name="run", system_metrics=asked) as run:
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("system metrics") == samples
    assert len(points(run, "system/disk_usage_percentage")) == samples


def test_a_finished_run_carries_its_load_as_an_artifact_however_short_it_was(
    make_runtime: MakeRuntime, tmp_path: Path
) -> None:
    """One sample at least: the last one."""
    with open_run(make_runtime(), cell_tags=CELL, run_name="run", load_file=tmp_path / "system.csv") as run:
        pass
    (artifact,) = run.server.client.list_artifacts(run.run_id, "system")
    assert artifact.path == "system/system.csv"
    assert len((tmp_path / "system.csv").read_text().splitlines()) == 2


def test_rows_of_another_machine_go_under_the_columns_that_are_there(tmp_path: Path) -> None:
    """A GPU that was not there at first has no column; one that is gone leaves its cells empty."""
    file = tmp_path / "system.csv"
    append_row(file, {"a": 1.0, "gpu": 2.0})
    append_row(file, {"a": 3.0, "other": 4.0})
    assert file.read_text() == "a,gpu\n1.0,2.0\n3.0,\n"


def test_a_disk_that_takes_no_more_costs_samples_and_not_the_stage(
    make_runtime: MakeRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file cannot be written: it is said, and everything goes on."""
    run = open_quiet(make_runtime())
    sampler = SystemSampler(run.server, run.run_id, continued=False, interval_s=60, file=Path("/dev/full/x.csv"))
    sampler.stop()
    sampler.upload()
    assert "a sample of the system metrics is lost" in capsys.readouterr().out
