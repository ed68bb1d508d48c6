"""Rules of params.yaml across stages: names of losses and networks, and keys that must agree."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from capillary import params_rules
from capillary.params_file import check_values, read_params_file
from capillary.params_rules import LOSS_CATALOGUE, NETWORK_CATALOGUE, check_rules, names_in
from stages.common.errors import ParamsError
from stages.common.networks.catalogue import ARCHITECTURES
from stages.train.losses import LOSSES
from tests.support.parts import REPOSITORY

PARAMS = read_params_file(REPOSITORY)


def changed(section: str, **values: object) -> dict[str, Any]:
    params = copy.deepcopy(PARAMS)
    params[section] |= values
    return params


def test_the_names_are_those_of_the_catalogues() -> None:
    """Read from the source, they are what an import would give."""
    assert names_in(LOSS_CATALOGUE) == list(LOSSES)
    assert names_in(NETWORK_CATALOGUE) == list(ARCHITECTURES)


@pytest.mark.parametrize(
    "text",
    ["LOSSES: dict = make()", "LOSSES = {'own': 1}", "LOSSES: dict = {**MORE, 'own': 1}"],
    ids=["a call", "no type", "with others"],
)
def test_a_catalogue_that_only_python_could_read_refuses_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Training itself says which names there are."""
    file = tmp_path / LOSS_CATALOGUE[0]
    file.parent.mkdir(parents=True)
    file.write_text(f"{text}\n")
    monkeypatch.setattr(params_rules, "_STAGES", tmp_path)
    check_rules({"training": {"losses": ["own"]}}, tmp_path, "params.yaml")


@pytest.mark.parametrize(
    ("section", "values", "what", "remedy"),
    [
        ("training", {"losses": ["dice_ce", "cldise"]}, "no `cldise`; did you mean `cldice`?", "docs/losses.md"),
        ("training", {"architecture": "unett"}, "no `unett`; did you mean `unet`?", "adding-a-model.md"),
        ("ingest", {"source": "hf://datasets/a/b"}, "DVC cannot track hf://", "dataset pin hf://datasets/a/b"),
        ("training", {"folds": [0, 3]}, "`training.folds`", "[0, 1, 2]"),
        ("preprocess", {"num_folds": 2}, "`training.folds`", "[0, 1]"),
        ("preprocess", {"num_folds": 1}, "`preprocess.num_folds`", "2 or more"),
        ("preprocess", {"max_volumes": 2}, "`preprocess.max_volumes`", "3 folds need 3 volumes"),
    ],
)
def test_a_broken_rule_is_named(section: str, values: dict[str, object], what: str, remedy: str) -> None:
    """With the key, the nearest name and what to do; the check of values applies the rules, too."""
    params = changed(section, **values)
    for check in (check_rules, check_values):
        with pytest.raises(ParamsError) as caught:
            check(params, REPOSITORY, origin="my.yaml")
        assert what in caught.value.what
        assert remedy in caught.value.remedy
        assert "my.yaml" in caught.value.report()


def test_a_size_chosen_on_other_folds_needs_another_fold() -> None:
    """`auto` with one fold would end evaluate after the training."""
    params = changed("evaluation", min_component_um3="auto")
    check_rules(params, REPOSITORY, "params.yaml")
    params["training"]["folds"] = [1]
    with pytest.raises(ParamsError, match="min_component_um3"):
        check_rules(params, REPOSITORY, "params.yaml")


def test_folds_of_a_file_may_be_one_and_leave_volumes_out(tmp_path: Path) -> None:
    """Rules of drawn folds hold for drawn folds alone; a file that is not there is another check's matter."""
    (tmp_path / "mine.json").write_text(json.dumps({"folds": [{"train": ["a"], "val": ["b"]}]}))
    params = changed("preprocess", num_folds=1, splits_file="mine.json")
    params["training"]["folds"] = [0]
    check_rules(params, tmp_path, "params.yaml")
    params["preprocess"]["test_groups"] = {"share": 0.2, "seed": 1}
    with pytest.raises(ParamsError, match="test_groups"):
        check_rules(params, tmp_path, "params.yaml")
    params["preprocess"]["splits_file"] = "none.json"
    check_rules(params, tmp_path, "params.yaml")


def test_a_file_without_these_sections_breaks_no_rule(tmp_path: Path) -> None:
    """As that of one's own pipeline."""
    check_rules({"toy": {"mode": "copy"}, "training": 3}, tmp_path, "params.yaml")
