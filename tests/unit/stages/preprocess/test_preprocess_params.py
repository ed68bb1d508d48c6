"""Params that cannot work are refused before any stack is read."""

import pytest
import yaml

from stages.common.errors import ParamsError
from stages.common.imaging.recipe import Recipe
from stages.common.params import validate_params
from stages.preprocess.params import PreprocessParams
from tests.support.parts import REPOSITORY

SHIPPED = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["preprocess"]


def test_the_shipped_params_are_valid() -> None:
    """params.yaml of the repository."""
    assert validate_params(PreprocessParams, {"preprocess": SHIPPED}, "params.yaml").preprocess.num_folds == 3


def test_a_resolution_may_be_whole_numbers() -> None:
    """[2, 1, 1] is as good as [2.0, 1.0, 1.0]."""
    params = validate_params(PreprocessParams, {"preprocess": SHIPPED | {"resample_to_um": [2, 1, 1]}}, "params.yaml")
    assert params.preprocess.resample_to_um == (2.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("percentile_low", 0),
        ("percentile_high", 100),
        ("max_volumes", 1),
        ("max_volumes", None),
        ("num_folds", 1),
        ("splits_file", "x"),
        ("seed", 0),
    ],
)
def test_the_ends_of_a_range_are_in_it(key: str, value: object) -> None:
    """The smallest and largest allowed values pass validation."""
    params = validate_params(PreprocessParams, {"preprocess": SHIPPED | {key: value}}, "params.yaml")
    assert getattr(params.preprocess, key) == value


def test_the_recipe_holds_what_a_later_stack_needs() -> None:
    """Normalisation, percentiles and spacing, each under its own name."""
    changed = SHIPPED | {"normalisation": "zscore", "percentile_low": 1, "percentile_high": 98}
    params = validate_params(PreprocessParams, {"preprocess": changed | {"resample_to_um": [3, 2, 1]}}, "params.yaml")
    assert params.preprocess.recipe() == Recipe(
        normalisation="zscore", percentile_low=1.0, percentile_high=98.0, resample_to_um=(3.0, 2.0, 1.0)
    )


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("normalisation", "percentiles", "normalisation"),
        ("percentile_low", -1, "percentile_low"),
        ("percentile_high", 101, "percentile_high"),
        ("percentile_high", 0.2, r"percentile_low \(0.5\) must be below percentile_high \(0.2\)"),
        ("percentile_high", 0.5, r"percentile_low \(0.5\) must be below percentile_high \(0.5\)"),
        ("resample_to_um", [1, 1], "resample_to_um"),
        ("resample_to_um", [1, 0, 1], "resample_to_um"),
        ("resample_to_um", 1.0, "resample_to_um"),
        ("resample_to_um", [1, 1, float("inf")], "resample_to_um"),
        ("max_volumes", 0, "max_volumes"),
        ("num_folds", 0, "num_folds"),
        ("num_folds", "3", "num_folds"),
        ("num_folds", 2.5, "num_folds"),
        ("splits_file", "", "splits_file"),
        ("splits_file", None, "splits_file"),
        ("seed", -1, "seed"),
        ("folds", 3, "unknown key `folds`; did you mean `num_folds`?"),
    ],
)
def test_a_value_that_cannot_work_is_refused(key: str, value: object, says: str) -> None:
    """The message names the key."""
    with pytest.raises(ParamsError, match=says.replace("?", r"\?")):
        validate_params(PreprocessParams, {"preprocess": SHIPPED | {key: value}}, "params.yaml")
