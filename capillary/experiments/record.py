"""Under which name an experiment runs, remembered until it has ended: the same command continues with the same one."""

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

from capillary.experiments.config import ExperimentConfig
from stages.common.atomic import atomic_write
from stages.common.stored import Stored, stored_from


class Record(Stored):
    """The last run of an experiment file: its name in DVC, what it overrode, whether it came to its end."""

    name: str
    overrides: str
    finished: bool


def read_record(root: Path, config: ExperimentConfig) -> Record | None:
    """What is known of the last run of `config`, however it ended. Raises DamagedError when it cannot be read."""
    file = _file(root, config)
    if not file.is_file():
        return None
    what = f"the record of the last run of {config.name}"
    remedy = "remove this file; the experiment then runs under a new name and keeps what has finished"
    return stored_from(Record, file.read_bytes(), what, file=file, remedy=remedy)


def write_record(root: Path, config: ExperimentConfig, name: str, *, finished: bool) -> None:
    """Remember that `config` runs, or ran, as `name`."""
    record = Record(name=name, overrides=_digest(config.overrides), finished=finished)
    with atomic_write(_file(root, config)) as stream:
        stream.write(record.model_dump_json().encode())


def choose_name(config: ExperimentConfig, last: Record | None, *, unchanged: bool, taken: set[str]) -> str:
    """The last run's name when it continues, or when nothing has changed since; else one that is free."""
    same = last is not None and last.overrides == _digest(config.overrides)
    if last is not None and same and (unchanged or not last.finished):
        return last.name
    return free_name(config.name, taken)


def free_name(wanted: str, taken: set[str]) -> str:
    """`wanted`, or `wanted-2`, `wanted-3`, … : every run of an experiment file stays comparable with the others."""
    candidates = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
    return next(name for name in candidates if name not in taken)


def _digest(overrides: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(overrides, sort_keys=True).encode()).hexdigest()


def _file(root: Path, config: ExperimentConfig) -> Path:
    return root / ".capillary" / "experiments" / f"{config.name}.json"
