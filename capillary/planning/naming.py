"""Where a run's trainings are registered, and whether it is a rehearsal, which no alias ever follows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capillary.params_file import read_params_file
from capillary.settings import Settings
from stages.common.tracking.names import of_experiment


def registered_model(settings: Settings) -> str:
    """The registered model of the experiment file that runs; that of `dvc repro` and `dvc exp run` where none does.

    The name that DVC gives an experiment says nothing, so it never counts.
    """
    return of_experiment(settings.experiment)


def is_rehearsal(settings: Settings, root: Path) -> bool:
    """Whether the numbers mean nothing: a rehearsal was asked for, or only some of the volumes take part."""
    return settings.rehearsal or leaves_volumes_out(read_params_file(root) if (root / "params.yaml").is_file() else {})


def leaves_volumes_out(params: Mapping[str, Any]) -> bool:
    """Whether `params` has preprocess take the first volumes only."""
    section = params.get("preprocess")
    return isinstance(section, dict) and section.get("max_volumes") is not None
