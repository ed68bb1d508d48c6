"""What a registry says of a model that is to be trained again: handed from stages/models to `capillary reproduce`.

provenance/fetched.json   what was named, and its cells
provenance/<n>/           provenance.json, changes.diff, params.yaml, dvc.lock of cell n, as far as its run has them
provenance/evaluation/    the same of the evaluation of a training; not there if its run has none
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from stages.common.errors import DamagedError
from stages.common.params import Finite, Params, Sha256

FETCHED = "provenance"
INDEX = "fetched.json"
EVALUATION = "evaluation"
MOST_CELLS = 500

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$")]
Number = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]


class FetchedCell(Params):
    """One network. `validation_dsc` is its card's, None if the version has no card."""

    loss: Name
    fold: Annotated[int, Field(ge=0)]
    name: Name
    version: Number
    weights_sha256: Sha256
    validation_dsc: Finite | None = None

    @property
    def label(self) -> str:
        """How people name it."""
        return f"{self.name}/{self.version}"


class Fetched(Params):
    """What was named: a network, or a training with its cells. `metrics` are means that evaluate registered."""

    label: str
    kind: Literal["network", "training"]
    cells: Annotated[tuple[FetchedCell, ...], Field(min_length=1, max_length=MOST_CELLS)]
    metrics: dict[str, Finite] = Field(default_factory=dict)


def write_fetched(folder: Path, fetched: Fetched) -> None:
    """Write the index."""
    (folder / INDEX).write_text(fetched.model_dump_json(indent=2))


def read_fetched(folder: Path) -> Fetched:
    """The index in `folder`. Raises DamagedError for one of another form."""
    file = folder / INDEX
    try:
        return Fetched.model_validate_json(file.read_bytes())
    except (ValidationError, FileNotFoundError) as error:
        raise DamagedError(
            "the registry's description of the model is wrong or incomplete",
            remedy="repeat the command; if it fails again, name another version",
            file=file,
            value=str(error)[:300],
        ) from error
