"""A training as evaluate knows it, and as training.json holds it.

The file crosses an edge twice: it is read back from a registry that others write to. So its form is checked as that of
params is, and its id must follow from its cells.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from stages.common.errors import DamagedError
from stages.common.metrics import METRICS, Metric
from stages.common.params import Finite, Params, Sha256
from stages.common.statistics.results import Interval

FILE = "training.json"
# of evaluate: they are kept with the training
TABLES = ("per_volume.parquet", "per_volume.csv", "summary.csv", "metrics.json", "paired.csv")
MOST_BYTES = 64 << 20
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$")]
Number = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]


class File(Params):
    """Size and SHA-256 of a network's file, as its card has them."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Cell(Params):
    """One network. `name` and `version` are where a registry keeps it, None before it was asked."""

    loss: Name
    fold: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0)]
    fingerprint: str
    weights_sha256: Sha256
    files: dict[str, File]
    name: Name | None = None
    version: Number | None = None


class VolumeResult(Params):
    """One volume under the network that never saw it. `label_sha256` is of its label: another label, other numbers."""

    id: str
    group: str
    fold: int
    seed: int
    label_sha256: str
    values: dict[str, Finite | None]


class Rival(Params):
    """Another loss of the same evaluation: its mean, and this training's less its, on the volumes of both."""

    loss: str
    mean: Finite | None
    difference: Finite | None
    ci_low: Finite | None
    ci_high: Finite | None


class Settings(Params):
    """How evaluate predicted, measured and drew intervals, as far as a comparison needs it."""

    overlap: Finite
    threshold: Finite
    test_time_flips: str
    min_component_um3: Finite | str | None
    nsd_tolerance_um: Finite
    confidence: Annotated[float, Field(gt=0, lt=1)]
    bootstrap_iterations: Annotated[int, Field(ge=1)]
    seed: int


class Training(Params):
    """The cells of one loss, and what came out.

    `registered_model` is where it belongs. `metrics` are in the order of params.yaml, the first one decides. `stands`
    says that it may become the champion: the best loss of a whole evaluation, and no rehearsal.
    """

    form: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    registered_model: Name
    loss: Name
    rehearsal: bool
    stands: bool
    cells: Annotated[tuple[Cell, ...], Field(min_length=1, max_length=10_000)]
    metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    summary: dict[str, Interval]
    volumes: Annotated[tuple[VolumeResult, ...], Field(max_length=1_000_000)]
    settings: Settings
    rivals: tuple[Rival, ...] = ()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.id != training_id(cell.fingerprint for cell in self.cells):
            raise ValueError("the id does not follow from the cells")
        if any(cell.loss != self.loss for cell in self.cells):
            raise ValueError("the cells are of several losses")
        if unknown := [name for name in self.metrics if name not in METRICS or name not in self.summary]:
            raise ValueError(f"the metric {unknown[0]} is unknown or has no mean")
        return self

    @property
    def lead(self) -> Metric:
        """The metric that decides."""
        return METRICS[self.metrics[0]]

    @property
    def digest(self) -> str:
        """What makes two registrations the same: networks, settings and results, not where a registry keeps them."""
        cells = [cell.model_dump(mode="json", exclude={"name", "version"}) for cell in self.cells]
        rest = self.model_dump(mode="json", exclude={"cells", "stands", "rivals", "registered_model"})
        return hashlib.sha256(json.dumps([cells, rest], sort_keys=True).encode()).hexdigest()


def training_id(fingerprints: Iterable[str]) -> str:
    """The id of the training whose cells have `fingerprints`, in any order."""
    return hashlib.sha256("\n".join(sorted(fingerprints)).encode()).hexdigest()[:16]


def training_json(training: Training) -> bytes:
    """The content of training.json; equal trainings give equal bytes."""
    return training.model_dump_json(indent=1).encode() + b"\n"


def training_from(content: bytes, origin: str) -> Training:
    """`content` as a training. Raises DamagedError naming `origin` and the first fault."""
    try:
        return Training.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        raise DamagedError(
            f"{FILE} of {origin} does not have the form that evaluate writes: {'.'.join(map(str, fault['loc']))}: "
            f"{fault['msg']}",
            remedy="name another version, or evaluate again: dvc repro -f -s evaluate",
            file=origin,
        ) from error


def finite(value: float | None) -> float | None:
    """`value` as JSON can hold it."""
    return value if value is not None and math.isfinite(value) else None
