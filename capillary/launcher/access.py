"""configs/stages.yaml: what a stage may touch beyond what its entry in dvc.yaml declares."""

from pathlib import Path
from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from capillary.yaml_file import read_yaml
from stages.common.errors import ParamsError
from stages.common.params import Params, nearest, validate_params

ACCESS_FILE = "configs/stages.yaml"


class StageAccess(Params):
    """One entry of configs/stages.yaml."""

    network: Literal["none", "source", "tracking"]
    env: tuple[str, ...]
    resume: bool
    gpu: Literal["none", "auto", "required"]
    memory_gb: PositiveFloat | None
    pids: PositiveInt
    shm_gb: PositiveFloat


def read_access(root: Path, stage: str) -> StageAccess:
    """The entry of `stage`; raises ParamsError when it is missing or malformed."""
    entries = read_yaml(root / ACCESS_FILE)
    if stage not in entries:
        raise ParamsError(
            f"{ACCESS_FILE} has no entry `{stage}`; {nearest(stage, list(entries))}",
            remedy=f"add `{stage}` to {ACCESS_FILE}: its keys are explained at the top of that file",
            file=ACCESS_FILE,
        )
    return validate_params(StageAccess, entries[stage], f"{ACCESS_FILE} [{stage}]")
