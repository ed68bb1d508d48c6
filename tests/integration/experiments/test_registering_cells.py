"""Cells that open runs and register models side by side, killed at random: dvc.lock and the registry afterwards."""

import contextlib
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import mlflow
import psutil
import pytest

from tests.integration.experiments.cell_project import REGISTERING, CellProject, kill
from tests.support.chaos import rounds

ROUNDS = rounds(1, by_hand=30)


def disturb(project: CellProject, process: subprocess.Popen[str], draw: random.Random) -> None:
    """Kill DVC processes and cells now and then until the driver ends; in half of the rounds it is killed itself."""
    end = time.monotonic() + (draw.uniform(5, 30) if draw.random() < 0.5 else float("inf"))
    while process.poll() is None:
        time.sleep(draw.uniform(0.5, 4))
        if time.monotonic() > end:
            kill(process)
            break
        victims = [pid for pid in project.processes() if pid != process.pid]
        if victims:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
                psutil.Process(draw.choice(victims)).kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(ROUNDS))
def test_every_cell_is_recorded_and_registered_once(number: int, tmp_path: Path) -> None:
    """Whatever was killed when: what was recorded stays, and each cell ends with one run and one model version."""
    project = CellProject(tmp_path / "project", REGISTERING, count=rounds(4, by_hand=12))
    draw = random.Random(20261121 + number)
    disturb(project, project.start(slots=draw.choice([2, 3])), draw)
    project.wait_until_quiet(timeout_s=60)

    before = project.recorded()
    outcomes = project.run(slots=2)
    assert {code for code, _ in outcomes.values()} == {0}
    after = project.recorded()
    assert set(after) == set(project.addresses)
    assert {address: after[address] for address in before} == before, "a recorded cell ran again"

    client = mlflow.MlflowClient(f"sqlite:///{project.root / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("capillary")
    runs = client.search_runs([experiment.experiment_id])
    assert Counter(run.data.tags["capillary.stage"] for run in runs) == Counter(project.addresses)
    assert {run.info.status for run in runs} == {"FINISHED"}
    versions = client.search_model_versions("name='capillary-any'")
    noted = [tuple((project.root / "outs" / address[5:]).read_text().split()) for address in project.addresses]
    assert sorted((version.run_id, str(version.version)) for version in versions) == sorted(noted)
