"""The model as plain JSON: the coefficients of a logistic regression. Loading it can run no code, unlike a pickle."""

import json
from dataclasses import asdict, dataclass

import numpy as np

from stages.common.errors import StageError


@dataclass(frozen=True, kw_only=True)
class Model:
    """A linear classifier. `coefficients` has one row per species and one number per feature; `intercepts` one per row.

    `features` are the columns it reads, in cm.
    """

    species: tuple[str, ...]
    features: tuple[str, ...]
    coefficients: tuple[tuple[float, ...], ...]
    intercepts: tuple[float, ...]

    def predict(self, flowers: np.ndarray) -> list[str]:
        """The species of each row of `flowers`, which has shape (flowers, features)."""
        scores = flowers @ np.array(self.coefficients).T + np.array(self.intercepts)
        return [self.species[best] for best in scores.argmax(axis=1)]


def to_json(model: Model) -> str:
    """`model` as text; equal models give equal text."""
    return json.dumps(asdict(model), indent=2) + "\n"


def from_json(text: str) -> Model:
    """The model in `text`; StageError when its parts do not fit together."""
    try:
        data = json.loads(text)
        model = Model(
            species=tuple(map(str, data["species"])),
            features=tuple(map(str, data["features"])),
            coefficients=tuple(tuple(map(float, row)) for row in data["coefficients"]),
            intercepts=tuple(map(float, data["intercepts"])),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StageError(
            f"the model cannot be read: {error!r}", remedy="train it again: dvc repro -f -s train"
        ) from error
    rows, columns = len(model.species), len(model.features)
    if np.array(model.intercepts).shape != (rows,) or {len(row) for row in model.coefficients} != {columns}:
        raise StageError("the model's numbers do not fit its species and features", remedy="train it again")
    if len(model.coefficients) != rows:
        raise StageError("the model has not one row of coefficients per species", remedy="train it again")
    return model
