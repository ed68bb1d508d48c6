"""Params of the evaluate stage."""

from typing import Any

import pytest
import yaml

from stages.common.errors import ParamsError
from stages.common.params import validate_params
from stages.evaluate.params import EvaluateParams
from tests.support.parts import REPOSITORY
from tests.unit.stages.evaluate.made import evaluation

EVALUATION = evaluation()
TRAINING = {"losses": ["dice_ce"], "folds": [0], "seed": 5, "seeds": []}


def test_the_params_are_exactly_those_that_dvc_yaml_declares() -> None:
    """params.yaml, cut to the keys of evaluate's entry, is what the stage's types ask for: no key more or less."""
    whole = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    declared = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]["evaluate"]["params"]
    visible: dict[str, dict[str, Any]] = {}
    for section, key in (name.split(".") for name in declared):
        visible.setdefault(section, {})[key] = whole[section][key]
    assert validate_params(EvaluateParams, visible, "params.yaml").model_dump(mode="json") == visible


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "losses", []),
        ("training", "losses", ["dice_ce", "dice_ce"]),
        ("training", "seeds", [7, 7]),
        ("training", "seeds", [8, 5]),
        ("training", "seeds", [-1]),
        ("training", "folds", [0, 0]),
        ("training", "folds", ["0"]),
        ("evaluation", "overlap", 1.0),
        ("evaluation", "overlap", -0.1),
        ("evaluation", "threshold", "half"),
        ("evaluation", "threshold", 1.0),
        ("evaluation", "threshold", -0.1),
        ("evaluation", "test_time_flips", "x"),
        ("evaluation", "min_component_um3", -1.0),
        ("evaluation", "min_component_um3", "automatic"),
        ("evaluation", "min_component_um3", float("inf")),
        ("evaluation", "nsd_tolerance_um", float("inf")),
        ("evaluation", "confidence", 0.0),
        ("evaluation", "bootstrap_iterations", 0),
        ("evaluation", "confidence", 1.0),
        ("evaluation", "seed", -1),
        ("evaluation", "iterations", 5),
        ("evaluation", "metrics", []),
        ("evaluation", "metrics", ["dsc", "dsc"]),
        ("evaluation", "metrics", "dsc"),
        ("evaluation", "nsd_tolerance_um", -1.0),
        ("evaluation", "radius_bands_um", [3.0, 3.0]),
        ("evaluation", "radius_bands_um", [0.0, 3.0]),
        ("evaluation", "radius_bands_um", [3.0]),
    ],
)
def test_wrong_params_are_refused_by_name(section: str, key: str, value: object) -> None:
    """The error names section and key."""
    data: dict[str, dict[str, Any]] = {
        "training": TRAINING.copy(),
        "evaluation": EVALUATION.model_dump(mode="json"),
    }
    data[section][key] = value
    with pytest.raises(ParamsError) as caught:
        validate_params(EvaluateParams, data, "params.yaml")
    assert section in caught.value.what
    assert key in f"{caught.value.what} {caught.value.remedy}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("overlap", 0.0),
        ("threshold", 0.0),
        ("test_time_flips", "all"),
        ("min_component_um3", 0.0),
        ("nsd_tolerance_um", 0.0),
        ("bootstrap_iterations", 1),
        ("seed", 0),
    ],
)
def test_the_ends_of_a_range_are_in_it(key: str, value: object) -> None:
    """The smallest allowed values pass validation."""
    data = {
        "training": TRAINING.copy(),
        "evaluation": EVALUATION.model_dump(mode="json") | {key: value},
    }
    assert getattr(validate_params(EvaluateParams, data, "params.yaml").evaluation, key) == value


@pytest.mark.parametrize(("size", "chooses", "fixed"), [(None, False, 0.0), (5.0, False, 5.0), ("auto", True, 0.0)])
def test_small_parts_have_a_fixed_size_or_a_chosen_one(size: object, chooses: bool, fixed: float) -> None:
    """null removes none, a number is a size in µm³, auto chooses one."""
    params = evaluation(min_component_um3=size)
    assert (params.chooses_size, params.fixed_size_um3) == (chooses, fixed)


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    """A name that is nearly right is answered with the right one."""
    data = {
        "training": TRAINING.copy(),
        "evaluation": evaluation().model_dump(mode="json") | {"metrics": ["dsc", "hd95"]},
    }
    with pytest.raises(ParamsError, match="unknown metric `hd95`; did you mean `hd95_um`") as caught:
        validate_params(EvaluateParams, data, "params.yaml")
    assert caught.value.remedy == "correct `evaluation.metrics` in params.yaml"


def test_a_short_name_is_the_metric_in_micrometres() -> None:
    """Wherever it is in the list; the same metric under both names is there twice."""
    assert evaluation(metrics=("dsc", "measured_masd")).metrics == ("dsc", "measured_masd_um")
    with pytest.raises(ValueError, match="occurs twice"):
        evaluation(metrics=("measured_masd_um", "measured_masd"))
