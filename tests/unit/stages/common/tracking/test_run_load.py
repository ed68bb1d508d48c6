"""The load of the machine as curves and as a file of a run."""

import csv
import threading
import time
from pathlib import Path

import pytest

from stages.common.monitoring.process_memory import ProcessTree
from stages.common.runtime import Monitoring
from stages.common.tracking.runs import open_run
from stages.common.tracking.server import connect
from stages.common.tracking.system_metrics import SystemSampler, append_row
from tests.unit.stages.common.tracking.opened import CELL, MakeRuntime, killed, made_of, open_quiet, points


def test_system_metrics_continue_their_steps_after_a_kill(make_runtime: MakeRuntime, tmp_path: Path) -> None:
    """CPU, disk and the memory of the process tree are sampled; a second process appends, no step comes twice.

    The file holds the same points as the server. Each process takes a last sample at its end.
    """
    file = tmp_path / "state" / "system.csv"
    began_s = time.time()
    for _ in range(2):
        run = open_quiet(make_runtime())
        sampler = SystemSampler(run.writer, interval_s=60, file=file)
        for _ in range(2):
            sampler._take_sample()
        sampler.stop()
        assert "system metrics" not in {thread.name for thread in threading.enumerate()}
        killed(run)
    for key in ("cpu_utilization_percentage", "disk_usage_percentage", "process_tree_memory_megabytes"):
        assert [step for step, _ in points(run, f"system/{key}")] == list(range(6))
    memory = [value for _, value in points(run, "system/process_tree_memory_megabytes")]
    assert memory[0] == pytest.approx(ProcessTree().rss_bytes() / 1e6, rel=0.5)
    with file.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["process_tree_memory_megabytes"]) for row in rows] == memory
    times_s = [float(row["unix_time_s"]) for row in rows]
    assert times_s == sorted(times_s)
    assert began_s - 1 <= times_s[0]
    assert times_s[-1] <= time.time()


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
    client = connect(make_runtime()).client
    (artifact,) = client.list_artifacts(made_of(run).info.run_id, "system")
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
    """The file cannot be written: it is said, and everything continues."""
    run = open_quiet(make_runtime())
    SystemSampler(run.writer, interval_s=60, file=Path("/dev/full/x.csv")).stop()
    assert "a sample of the system metrics is lost" in capsys.readouterr().out
    killed(run)
    assert len(points(run, "system/disk_usage_percentage")) == 1
