"""`capillary check`: params.yaml, and params.yaml under each experiment file, as the stages would take them."""

from pathlib import Path

from capillary.experiments.config import read_experiment, with_overrides
from capillary.experiments.workspace import base_params
from capillary.params_file import check_params, check_values, known_keys

EXPERIMENTS = Path("configs", "experiments")


def check_project(root: Path) -> None:
    """Raise ParamsError for the first key or value that a run would refuse, with the file that holds it."""
    check_params(root)
    base = base_params(root)
    for file in sorted((root / EXPERIMENTS).glob("*.yaml")):
        config = read_experiment(file, base, declared=known_keys(root))
        check_values(with_overrides(base, config.overrides), root, origin=str(file.relative_to(root)))
