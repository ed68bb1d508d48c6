"""What the host knows for a question: the names that this project can have registered, and who asks."""

import getpass
import subprocess
from pathlib import Path
from typing import Any

from capillary.params_file import read_params_file
from capillary.params_rules import LOSS_CATALOGUE, names_in
from capillary.yaml_file import read_yaml
from stages.common.errors import CapillaryError
from stages.common.tracking.names import DEFAULT, of_experiment, of_loss

EXPERIMENTS = Path("configs", "experiments")


def known_names(root: Path) -> list[str]:
    """Registered models of the experiment files, of `dvc repro`, and of the losses. Some servers list no models."""
    losses = _losses(read_params_file(root) if (root / "params.yaml").is_file() else {})
    return list(dict.fromkeys([*training_names(root), *map(of_loss, losses)]))


def training_names(root: Path) -> list[str]:
    """Registered models that hold trainings: that of `dvc repro`, and those of the experiment files."""
    experiments = [of_experiment(name) for file in sorted((root / EXPERIMENTS).glob("*.yaml")) if (name := _name(file))]
    return list(dict.fromkeys([DEFAULT, *experiments]))


def who_asks(root: Path) -> str:
    """The name in Git's settings, else that of the account."""
    asked = subprocess.run(
        ("git", "config", "user.name"), cwd=root, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    return asked.stdout.strip() or getpass.getuser()


def _losses(params: dict[str, Any]) -> list[str]:
    training = params.get("training")
    listed = training.get("losses") if isinstance(training, dict) else None
    own = [str(name) for name in listed] if isinstance(listed, list) else []
    return [*own, *names_in(LOSS_CATALOGUE)]


def _name(file: Path) -> str:
    """The experiment's name; empty if the file has none: `capillary check` says so."""
    try:
        head = read_yaml(file).get("experiment")
    except CapillaryError:
        return ""
    return str(head.get("name", "")) if isinstance(head, dict) else ""
