"""An experiment file run as one named DVC experiment."""

import itertools
import subprocess
from pathlib import Path

from capillary.experiments.config import read_experiment, set_param_arguments, with_overrides
from capillary.metrics_table import show_metrics
from capillary.params_file import check_values, read_params_file, refuse_unknown_keys
from stages.common.progress import say


def run_experiment(file: Path, root: Path) -> int:
    """Check `file`, run `dvc exp run` with its overrides, show the metrics; returns DVC's exit code."""
    refuse_unknown_keys(root)
    params = read_params_file(root)
    config = read_experiment(file, params)
    check_values(with_overrides(params, config.overrides), root, origin=str(file))
    name = _free_name(config.head.name, _experiment_names(root))
    say(f"experiment {name}: {config.head.description}")
    argv = ["dvc", "exp", "run", "--name", name, *set_param_arguments(config.overrides)]
    code = subprocess.run(argv, cwd=root, check=False).returncode
    if code == 0:
        show_metrics(root / "metrics" / "metrics.json")
    return code


def _experiment_names(root: Path) -> set[str]:
    listed = subprocess.run(
        ["dvc", "exp", "list", "--all-commits", "--name-only"], cwd=root, check=True, capture_output=True, text=True
    )
    return set(listed.stdout.split())


def _free_name(wanted: str, taken: set[str]) -> str:
    """`wanted`, or `wanted-2`, `wanted-3`, … : every run of an experiment file stays comparable with the others."""
    candidates = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
    return next(name for name in candidates if name not in taken)
