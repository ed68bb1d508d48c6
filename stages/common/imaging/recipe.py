"""How images were prepared for a network: what a stack must go through before that network sees it.

preprocess leaves it next to the arrays (data/processed/recipe.json), train copies it onto the model's card, and predict
repeats it on a stack that preprocess never saw.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError

from stages.common.atomic import atomic_write
from stages.common.errors import DataError
from stages.common.text import json_value

RECIPE = "recipe.json"
# how stacks are read from files; 2: white stored as 0 is inverted, and the axes of a NIfTI follow its affine
READING = 2

_Number = Annotated[int, Strict()] | Annotated[float, Strict()]  # as it was written: an equal recipe has equal bytes


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What params.yaml said under `preprocess` about intensities and spacing; `resample_to_um` is z, y, x, or None.

    `reading` is the READING of the program that read the stacks: 1 where a recipe from before it had one does not say.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    normalisation: Annotated[str, Field(pattern="^(percentile|zscore|none)$")]
    percentile_low: _Number
    percentile_high: _Number
    resample_to_um: tuple[_Number, _Number, _Number] | None
    reading: Annotated[int, Strict()] = READING


_FORM = TypeAdapter(Recipe)


def recipe_from(values: object, origin: object) -> Recipe:
    """`values`, as JSON has them, as a recipe. Raises DataError naming `origin` when a key is missing or foreign."""
    values = with_reading(values)
    try:
        return _FORM.validate_python(values)
    except ValidationError as error:
        raise DataError(
            "the recipe for preparing the images is incomplete or wrong",
            remedy="run `dvc repro`: preprocess writes the recipe, and train copies it to the model's card",
            file=origin,
            value=values,
        ) from error


def with_reading(values: object) -> object:
    """`values` of a recipe, which say how stacks were read also where the recipe is from before it had that."""
    return {"reading": 1, **values} if isinstance(values, Mapping) else values


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write `folder`/recipe.json; equal recipes give equal bytes."""
    with atomic_write(folder / RECIPE) as stream:
        stream.write(json.dumps(asdict(recipe), indent=2).encode() + b"\n")


def read_recipe(folder: Path) -> Recipe:
    """The recipe of the arrays in `folder`. Raises DataError when it is missing or no recipe."""
    file = folder / RECIPE
    try:
        return recipe_from(json_value(file.read_text(encoding="utf-8")), file)
    except FileNotFoundError as error:
        raise DataError(
            "the recipe by which these images were prepared is missing", remedy="run `dvc repro preprocess`", file=file
        ) from error
    except ValueError as error:
        raise DataError(
            f"{RECIPE} is not JSON: {error}", remedy="run `dvc repro -f -s preprocess`", file=file
        ) from error
