"""What DVC's graph costs by its size: seconds of `dvc status`, and of `dvc repro -s` of one cell.

    python benchmarks/graph_size.py [--cells N …] [--json]

The graph is this project's own dvc.yaml with more losses and folds; a training is replaced by a command that writes its
outs. All cells are recorded. `status` looks at all of them, `repro` at one, with nothing to do; `run` forces that one.
Needs Git; works in a temporary folder.
"""

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import yaml

from capillary.dvc.commands import KILL_SAFE_DVC
from tests.support.parts import REPOSITORY, command_environment
from tests.support.repository import start_repository

SIZES = (10, 50, 100, 200, 400)
FOLDS = 10
WRITE = "mkdir -p models/{loss} metrics/training/{loss} && echo {{}} > {card} && echo {loss}-{fold} > {curve}"


def make_project(root: Path, cells: int) -> None:
    """This project's graph in `root` with `cells` trainings, all outs there and recorded."""
    shutil.copytree(REPOSITORY / "stages", root / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("configs", "samples"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("iris"))
    shutil.copy(REPOSITORY / ".dvcignore", root)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    folds = min(FOLDS, cells)
    params["training"] |= {"losses": [f"l{n:02d}" for n in range(cells // folds)], "folds": list(range(folds))}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    tree = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
    names = {"loss": "${item.loss}", "fold": "${item.fold}"}
    card, curve = (
        "models/{loss}/fold_{fold}.json".format(**names),
        "metrics/training/{loss}/fold_{fold}.csv".format(**names),
    )
    tree["stages"]["train"]["cmd"] = WRITE.format(card=card, curve=curve, **names)
    (root / "dvc.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    start_repository(root)
    for name, text in _outs(tree["stages"], params["training"]).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    _dvc(root, "commit", "--force", "--quiet")


def _outs(stages: dict[str, Any], training: dict[str, Any]) -> dict[str, str]:
    """Path → content of every out."""
    outs = {"data/raw/a": "a", "data/processed/a": "a", "metrics/overlays/a": "a"}
    for kind in ("outs", "metrics", "plots"):
        listed = stages["evaluate"].get(kind, [])
        outs |= {
            name: ""
            for each in listed
            if (name := each if isinstance(each, str) else next(iter(each))) != "metrics/overlays"
        }
    for loss in training["losses"]:
        for fold in training["folds"]:
            outs |= {
                f"models/{loss}/fold_{fold}.json": "{}\n",
                f"metrics/training/{loss}/fold_{fold}.csv": f"{loss}-{fold}\n",
            }
    return outs


def _dvc(root: Path, *argv: str) -> None:
    done = subprocess.run(
        [*KILL_SAFE_DVC, *argv], cwd=root, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"dvc {' '.join(argv)} failed: {done.stdout}{done.stderr}")


def _environment() -> dict[str, str]:
    return command_environment(PYTHONPATH=str(REPOSITORY))


def seconds(root: Path, *argv: str, repeat: int = 2) -> float:
    """CPU seconds of a DVC command, the least of some runs: DVC computes on one core and waits for nothing else."""
    took = []
    for _ in range(repeat):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _dvc(root, *argv)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(took)


def measure(cells: int) -> dict[str, float]:
    """Seconds of each command in a graph of `cells` trainings."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "project")
        make_project(root, cells)
        one = ("repro", "--single-item", "train@l00-0")
        figures = {"status_s": seconds(root, "status"), "repro_s": seconds(root, *one)}
        figures["run_s"] = seconds(root, *one, "--force")
        return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    """Measure each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=SIZES, help="multiples of ten")
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    results = {}
    for cells in arguments.cells:
        results[cells] = measure(cells)
        if not arguments.json:
            print(
                f"{cells:4d} cells: " + ", ".join(f"{name} {value:.2f}" for name, value in results[cells].items()),
                flush=True,
            )
    if arguments.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "cells": results}))


if __name__ == "__main__":
    main()
