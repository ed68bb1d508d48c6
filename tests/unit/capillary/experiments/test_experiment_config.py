from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from capillary.experiments.config import read_experiment, set_param_arguments, with_overrides
from capillary.yaml_file import read_yaml
from stages.common.errors import ParamsError

PARAMS = {
    "ingest": {"source": "samples/phantom"},
    "training": {"losses": ["dice_ce"], "learning_rate": 0.002, "nested": {"deep": 1}},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vesselnn.yaml"


def write(file: Path, **sections: object) -> Path:
    file.write_text(yaml.safe_dump({"experiment": {"name": "v"}, **sections}))
    return file


def test_a_file_is_a_name_and_overrides(file: Path) -> None:
    """Sections nest as in params.yaml; the experiment's own section is no override."""
    file.write_text(
        "experiment: {name: six-stacks_2, description: real ones}\n"
        "ingest: {source: ../stacks}\n"
        "training: {losses: [dice_ce, cbdice], nested: {deep: 1e-3}}\n"
    )
    config = read_experiment(file, PARAMS)
    assert (config.head.name, config.head.description) == ("six-stacks_2", "real ones")
    assert config.overrides == {
        "ingest.source": "../stacks",
        "training.losses": ["dice_ce", "cbdice"],
        "training.nested.deep": 0.001,
    }


def test_a_file_without_overrides_runs_params_yaml_as_it_is(file: Path) -> None:
    """A name alone is a complete experiment."""
    assert read_experiment(write(file), PARAMS).overrides == {}


@pytest.mark.parametrize(
    ("sections", "what"),
    [
        (
            {"training": {"learning_rat": 1}},
            "unknown key `training.learning_rat`; did you mean `training.learning_rate`",
        ),
        ({"trainin": {"learning_rate": 1}}, "did you mean `training.learning_rate`"),
        ({"training": 3}, "unknown key `training`"),
        ({"training": {"nested": 3}}, "unknown key `training.nested`"),
        ({"experiment": {"name": "two words"}}, "name"),
        ({"experiment": {"name": "-x"}}, "name"),
        ({"experiment": {"name": "a", "nam": 1}}, "unknown key `nam`; did you mean `name`"),
        ({"experiment": {"description": "x"}}, "has no name"),
        ({"experiment": "v"}, "has no name"),
        ({"experiment": None}, "has no name"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(file: Path, sections: dict[str, object], what: str) -> None:
    """A mistake is found before anything runs, and the message says in which file."""
    with pytest.raises(ParamsError, match=what) as caught:
        read_experiment(write(file, **sections), PARAMS)
    assert file.name in caught.value.report()


def test_a_missing_file_names_those_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing mistake in --config ends with a list to choose from."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "experiments").mkdir(parents=True)
    (tmp_path / "configs" / "experiments" / "smoke.yaml").touch()
    with pytest.raises(ParamsError, match="no such experiment file") as caught:
        read_experiment(Path("smok.yaml"), PARAMS)
    assert "configs/experiments/smoke.yaml" in caught.value.remedy


def test_overrides_apply_to_a_copy() -> None:
    """What is checked is what will run, and params.yaml's own values stay."""
    merged = with_overrides(PARAMS, {"training.nested.deep": 2, "ingest.source": "x"})
    assert merged["training"] == {"losses": ["dice_ce"], "learning_rate": 0.002, "nested": {"deep": 2}}
    assert PARAMS["training"]["nested"] == {"deep": 1}


@pytest.mark.parametrize(
    "value",
    [
        *(
            "../my stacks/µm",
            "a=b",
            "a,b",
            "it's",
            'say "x"',
            "'",
            "\\",
            "a\\b",
            "a\\'b",
            "a\\\\'b",
            "end\\",
            "end\\\\",
        ),
        *("[x]", "{x: 1}", "a:b", "x # y", "$HOME", "~/x", "@x", "*", "glob(*)", "", " lead ", "a\tb", "line\nbreak"),
        *("null", "true", "1", "1e-5", "s3://bucket/a?b=c&d", "C:\\data\\x"),
        *(None, True, False, 0, -3, 12345678901234567890, 0.002, 1e-5, -2.5e-7, 1e22, float("inf")),
        *([], [1, [2.5, [None]]], ["a b", "it's", "c\\"], [True, 1e-5, -1]),
    ],
    ids=repr,
)
def test_dvc_reads_every_value_back_as_it_was(tmp_path: Path, value: Any) -> None:
    """DVC's own parser, on the arguments of dvc exp run, writes a params.yaml with the very value and type."""
    params = tmp_path / "params.yaml"
    params.write_text("a: {b: old}\n")
    flag, argument = set_param_arguments({"a.b": value})
    assert flag == "--set-param"
    apply_overrides(params, [argument])
    found = read_yaml(params)["a"]["b"]
    assert found == value
    assert type(found) is type(value)
