"""The image recipe: what preprocess writes, train and predict read; anything else is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import DataError
from stages.common.imaging.recipe import Recipe, read_recipe, recipe_from, write_recipe

VALUES: dict[str, Any] = {
    "normalisation": "percentile",
    "percentile_low": 0.5,
    "percentile_high": 99.0,
    "resample_to_um": [2.0, 1.5, 1.25],
    "reading": 2,
}
RECIPE = Recipe(normalisation="percentile", percentile_low=0.5, percentile_high=99.0, resample_to_um=(2.0, 1.5, 1.25))


@pytest.mark.parametrize("resample_to_um", [(2.0, 1.5, 1.25), None])
@pytest.mark.parametrize("normalisation", ["percentile", "zscore", "none"])
def test_a_recipe_comes_back_as_it_was_written(
    tmp_path: Path, normalisation: str, resample_to_um: tuple[float, float, float] | None
) -> None:
    """All fields survive, and writing it twice gives equal bytes."""
    recipe = Recipe(
        normalisation=normalisation, percentile_low=0.5, percentile_high=99.0, resample_to_um=resample_to_um
    )
    write_recipe(tmp_path, recipe)
    former = (tmp_path / "recipe.json").read_bytes()
    assert read_recipe(tmp_path) == recipe
    write_recipe(tmp_path, recipe)
    assert (tmp_path / "recipe.json").read_bytes() == former


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    """Other programs can read it: preprocess params under their own names."""
    write_recipe(tmp_path, RECIPE)
    assert json.loads((tmp_path / "recipe.json").read_text()) == VALUES


def test_values_of_a_card_are_a_recipe() -> None:
    """The spacing list of JSON becomes a tuple; a card from before stacks were read as now says so."""
    assert recipe_from({key: value for key, value in VALUES.items() if key != "reading"}, "a card").reading == 1
    assert recipe_from(VALUES, "a card") == RECIPE
    assert recipe_from(VALUES | {"resample_to_um": None}, "a card").resample_to_um is None


def test_numbers_stay_as_they_were_written(tmp_path: Path) -> None:
    """A recipe that train copies onto a card is the same to the byte."""
    whole = VALUES | {"percentile_low": 1, "resample_to_um": [2, 1.5, 1]}
    write_recipe(tmp_path, recipe_from(whole, "a card"))
    assert (tmp_path / "recipe.json").read_text() == json.dumps(whole, indent=2) + "\n"


@pytest.mark.parametrize(
    "values",
    [
        {key: value for key, value in VALUES.items() if key != "percentile_low"},
        VALUES | {"clip": True},
        VALUES | {"normalisation": "minmax"},
        [VALUES],
        None,
    ],
    ids=["a key is missing", "a key too many", "an unknown normalisation", "a list", "nothing"],
)
def test_anything_else_is_refused_with_its_origin(values: object) -> None:
    """The error shows the values, their origin and the command that makes new ones."""
    with pytest.raises(DataError) as caught:
        recipe_from(values, "models/dice_ce/fold_0.json")
    assert caught.value.file == "models/dice_ce/fold_0.json"
    assert caught.value.value == (values if not isinstance(values, dict) else {"reading": 1, **values})
    assert "dvc repro" in caught.value.remedy


@pytest.mark.parametrize("content", [None, "{", "[" * 5000, "[]"], ids=["missing", "no JSON", "nested", "no recipe"])
def test_a_folder_without_a_recipe_is_refused(tmp_path: Path, content: str | None) -> None:
    """The error names the missing or damaged file."""
    if content is not None:
        (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(DataError) as caught:
        read_recipe(tmp_path)
    assert caught.value.file == tmp_path / "recipe.json"
    assert "dvc repro" in caught.value.remedy
