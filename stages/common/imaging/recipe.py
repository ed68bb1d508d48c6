"""How images were prepared for a network: what a stack must go through before that network sees it.

preprocess leaves it next to the arrays (data/processed/recipe.json), train copies it onto the model's card, and predict
repeats it on a stack that preprocess never saw.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from stages.common.atomic import atomic_write
from stages.common.errors import DataError

RECIPE = "recipe.json"
# how stacks are read from files; 2: white stored as 0 is inverted, and the axes of a NIfTI follow its affine
READING = 2

_NORMALISATIONS = ("percentile", "zscore", "none")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What params.yaml said under `preprocess` about intensities and spacing; `resample_to_um` is z, y, x, or None.

    `reading` is the READING of the program that read the stacks: 1 where a recipe from before it had one does not say.
    """

    normalisation: str
    percentile_low: float
    percentile_high: float
    resample_to_um: tuple[float, float, float] | None
    reading: int = READING


def recipe_from(values: object, origin: object) -> Recipe:
    """`values`, as JSON has them, as a recipe. Raises DataError naming `origin` when a key is missing or foreign."""
    names = {field.name for field in fields(Recipe)}
    values = {"reading": 1, **values} if isinstance(values, Mapping) else values
    if not isinstance(values, dict) or set(values) != names or not _is_recipe(values):
        raise DataError(
            "the recipe for preparing the images is incomplete or wrong",
            remedy="run `dvc repro`: preprocess writes the recipe, and train copies it to the model's card",
            file=origin,
            value=values,
        )
    asked: Any = values["resample_to_um"]
    return Recipe(**{**values, "resample_to_um": None if asked is None else (asked[0], asked[1], asked[2])})


def _is_recipe(values: Mapping[str, Any]) -> bool:
    spacing, reading = values["resample_to_um"], values["reading"]
    is_spacing = spacing is None or (isinstance(spacing, list | tuple) and len(spacing) == 3)
    numbers = [values["percentile_low"], values["percentile_high"], *(spacing or () if is_spacing else ())]
    is_named = isinstance(values["normalisation"], str) and values["normalisation"] in _NORMALISATIONS
    return is_named and is_spacing and type(reading) is int and all(type(one) in (int, float) for one in numbers)


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write `folder`/recipe.json; equal recipes give equal bytes."""
    with atomic_write(folder / RECIPE) as stream:
        stream.write(json.dumps(asdict(recipe), indent=2).encode() + b"\n")


def read_recipe(folder: Path) -> Recipe:
    """The recipe of the arrays in `folder`. Raises DataError when it is missing or no recipe."""
    file = folder / RECIPE
    try:
        return recipe_from(json.loads(file.read_text(encoding="utf-8")), file)
    except FileNotFoundError as error:
        raise DataError(
            "the recipe by which these images were prepared is missing", remedy="run `dvc repro preprocess`", file=file
        ) from error
    except ValueError as error:
        raise DataError(
            f"{RECIPE} is not JSON: {error}", remedy="run `dvc repro -f -s preprocess`", file=file
        ) from error
