"""An experiment file run as one named DVC experiment."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

from capillary.experiments.config import read_experiment, set_param_arguments, with_overrides
from capillary.metrics_table import show_metrics
from capillary.params_file import check_params, check_values, read_params_file
from stages.common.errors import CapillaryError, ExitCode
from stages.common.progress import say

DVC = (sys.executable, "-m", "dvc")


def run_experiment(file: Path, root: Path) -> int:
    """Check `file`, run `dvc exp run` with its overrides, show the metrics; returns DVC's exit code."""
    check_params(root)
    params = read_params_file(root)
    config = read_experiment(file, params)
    check_values(with_overrides(params, config.overrides), root, origin=str(file))
    name = _free_name(config.head.name, _experiment_names(root))
    say(f"experiment {name}: {config.head.description}")
    argv = [*DVC, "exp", "run", "--name", name, *set_param_arguments(config.overrides)]
    code = subprocess.run(argv, cwd=root, env=_environment(), check=False).returncode
    if code == 0:
        show_metrics(root / "metrics" / "metrics.json")
    return code


def _environment() -> dict[str, str]:
    """With this installation's programs first: the stages' cmd is `capillary`, also when no environment is active."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _experiment_names(root: Path) -> set[str]:
    argv = [*DVC, "exp", "list", "--all-commits", "--name-only"]
    listed = subprocess.run(argv, cwd=root, check=False, capture_output=True, text=True)
    if listed.returncode:
        raise CapillaryError(
            "DVC cannot list the experiments of this project",
            file=root,
            value=listed.stderr.strip(),
            remedy="run this in the project's own folder: a Git repository with at least one commit",
            code=ExitCode.USAGE,
        )
    return set(listed.stdout.split())


def _free_name(wanted: str, taken: set[str]) -> str:
    """`wanted`, or `wanted-2`, `wanted-3`, … : every run of an experiment file stays comparable with the others."""
    candidates = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
    return next(name for name in candidates if name not in taken)
