"""What a place adds to cells: twelve sleeping cells of equal length on three nodes of Slurm or Ray.

    python benchmarks/place_cells.py slurm|ray [--seconds S] [--json]

The cells take the road of an experiment's: `dvc repro -s`, a frozen order, a job, its outs published and recorded. The
reference is the same number of sleeps handed to the place by itself, as an array of sbatch or tasks of Ray; what these
take beyond the ideal is the place's own queue. Needs Git, and a Slurm cluster of three idle nodes or Ray; works in a
temporary folder, which all nodes must see.
"""

import argparse
import contextlib
import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import yaml

from capillary.experiments.arrays import submit_ahead
from capillary.experiments.cells import Cells, Outcome, Slot
from capillary.experiments.slots import plan_slots
from capillary.settings import read_settings
from tests.support.clusters.places import PROFILE
from tests.support.clusters.ray_cluster import ray_nodes
from tests.support.clusters.slurm import cluster
from tests.support.parts import REPOSITORY, command_environment
from tests.support.repository import start_repository

CELLS, NODES = 12, 3
TARGET = 1.15
ACCESS = "train: {network: none, env: [], resume: true, gpu: none, memory_gb: null, pids: 64, shm_gb: 0.0625}\n"
PROGRAM = """
import json, os, sys, time
from pathlib import Path

started = time.time()
time.sleep({seconds})
Path("outs").mkdir(exist_ok=True)
Path("outs", sys.argv[1]).write_text(json.dumps([started, time.time()]))
"""


class Project:
    """CELLS trainings that sleep, as jobs of `place`; each leaves when it slept. One fills a node."""

    def __init__(self, root: Path, seconds: float) -> None:
        self.root = root
        names = [f"c{number:02d}" for number in range(CELLS)]
        self.addresses = [f"train@{name}" for name in names]
        self.outs = [root / "outs" / name for name in names]
        cell = {
            "matrix": {"n": names},
            "cmd": "capillary stage train ${item.n}",
            "deps": ["stages"],
            "outs": ["outs/${item.n}"],
        }
        shipped = yaml.safe_load((REPOSITORY / "configs/ray.yaml").read_text())
        task = {"cpus": 1, "memory_gb": 0.1, "gpus": 0, "gpu_memory_gb": None, "retries": 3}
        stages = {"max_jobs": shipped["max_jobs"], "stages": {"train": "small"}}
        files = {
            "dvc.yaml": yaml.safe_dump({"stages": {"train": cell}}),
            "params.yaml": "{}\n",
            "stages/__init__.py": "",
            "stages/train/__init__.py": "",
            "stages/train/__main__.py": PROGRAM.format(seconds=seconds),
            "configs/stages.yaml": ACCESS,
            "configs/slurm.yaml": yaml.safe_dump({**stages, "profiles": {"small": {**PROFILE, "cpus": 2}}}),
            "configs/ray.yaml": yaml.safe_dump({**shipped, **stages, "profiles": {"small": task}}),
            ".gitignore": "/.capillary/\n/outs\n",
        }
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        shutil.copy(REPOSITORY / "configs/compute.yaml", root / "configs")
        start_repository(root)

    def run(self, variables: Mapping[str, str]) -> None:
        """All cells, as an experiment runs them."""
        environment = {**os.environ, **command_environment(**variables)}
        settings = read_settings(self.root, environment)
        assert submit_ahead(self.root, environment, self.addresses, settings) == 0
        cells = Cells(self.root, environment, self.root / ".logs", Quiet(), elsewhere=True)
        outcomes = cells.run(self.addresses, plan_slots(self.root, settings, CELLS))
        failed = [outcome for outcome in outcomes if (outcome.code, outcome.ran) != (0, True)]
        assert not failed, failed[0].log.read_text()
        lock = yaml.safe_load((self.root / "dvc.lock").read_text())
        assert set(lock["stages"]) == set(self.addresses)

    def most_at_once(self) -> int:
        """How many cells slept at the same time."""
        spans: list[tuple[float, float]] = [json.loads(out.read_text()) for out in self.outs]
        return max(sum(start <= each < end for start, end in spans) for each, _ in spans)


class Quiet:
    """An experiments.cells.Listener that shows nothing."""

    def started(self, address: str, slot: Slot) -> None:
        """Nothing."""

    def printed(self, address: str, line: str) -> None:
        """Nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Nothing."""


def _slurm_alone(folder: Path, seconds: float) -> None:
    array = ["sbatch", "--wait", f"--array=1-{CELLS}", "--cpus-per-task=2", "--mem=400M", "--output=/dev/null"]
    subprocess.run([*array, f"--wrap=sleep {seconds}"], cwd=folder, check=True, capture_output=True)


def _sleep(seconds: float) -> None:
    """Ray takes no function that is written in C."""
    time.sleep(seconds)


def _ray_alone(_folder: Path, seconds: float) -> None:
    ray = importlib.import_module("ray")
    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
    sleep = ray.remote(_sleep)
    ray.get([sleep.options(num_cpus=1).remote(seconds) for _ in range(CELLS)])
    ray.shutdown()


@contextlib.contextmanager
def _slurm() -> Iterator[dict[str, str]]:
    cluster()
    yield {"CAPILLARY_PLACE": "slurm"}


@contextlib.contextmanager
def _ray() -> Iterator[dict[str, str]]:
    with ray_nodes(NODES, 1) as nodes:
        os.environ["RAY_ADDRESS"] = nodes.address
        yield {"CAPILLARY_PLACE": "ray", "RAY_ADDRESS": nodes.address}


ALONE: dict[str, Callable[[Path, float], None]] = {"slurm": _slurm_alone, "ray": _ray_alone}
PLACES = {"slurm": _slurm, "ray": _ray}


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(place: str, seconds: float) -> dict[str, Any]:
    """Makespans of the place alone and of cells, in seconds, and what follows from them."""
    ideal = CELLS / NODES * seconds
    with tempfile.TemporaryDirectory() as folder, PLACES[place]() as variables:
        alone = _timed(lambda: ALONE[place](Path(folder), seconds))
        project = Project(Path(folder, "project"), seconds)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        cells = _timed(lambda: project.run(variables))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        most = project.most_at_once()
    assert most <= NODES, f"{most} cells at once"
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    queue = max(0.0, alone - ideal)
    return {
        "place": place,
        "ideal_s": round(ideal, 1),
        "alone_s": round(alone, 1),
        "cells_s": round(cells, 1),
        "ratio": round((cells - queue) / ideal, 3),
        "overhead_per_cell_s": round((cells - alone) / (CELLS / NODES), 2),
        "head_cpu_per_cell_s": round(cpu / CELLS, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("place", choices=PLACES)
    parser.add_argument("--seconds", type=float, default=60, help="length of a cell")
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    found = measure(arguments.place, arguments.seconds)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{CELLS} cells of {arguments.seconds:g} s on {NODES} nodes of {found['place']}: ideal {found['ideal_s']} s")
    print(f"the place alone {found['alone_s']} s; cells {found['cells_s']} s")
    print(f"ratio to the ideal and the place's own queue {found['ratio']} (target: at most {TARGET})")
    print(f"per cell: {found['overhead_per_cell_s']} s of its node, {found['head_cpu_per_cell_s']} CPU s of the head")


if __name__ == "__main__":
    main()
