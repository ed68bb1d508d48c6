"""What the events of one run of a stage say. It knows neither the launcher nor OpenLineage."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Ending(enum.StrEnum):
    """How a run ended, in OpenLineage's words."""

    COMPLETE = "COMPLETE"
    FAIL = "FAIL"
    ABORT = "ABORT"


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """`inputs` are the deps by name, with DVC's hashes; `outputs` the names of the outs; `address` is the entry's."""

    address: str
    root: Path
    inputs: Mapping[str, str]
    outputs: Sequence[str]
    params: Mapping[str, Any]
    fingerprint: str
    experiment: str | None


STOPPED = (130, 143)


def ending_of(code: int) -> Ending:
    """By the stage's exit code; who stopped it made no mistake."""
    return Ending.COMPLETE if code == 0 else Ending.ABORT if code in STOPPED else Ending.FAIL
