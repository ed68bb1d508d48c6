import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from capillary.params_file import check_params, check_values, declared_keys, read_params_file, refuse_unknown_keys
from stages.common.errors import ParamsError
from tests.support.parts import REPOSITORY

STAGES = ["ingest", "preprocess", "train", "evaluate"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The repository's own dvc.yaml and params.yaml."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    return tmp_path


@pytest.fixture
def params(root: Path) -> dict[str, Any]:
    return read_params_file(root)


def write(root: Path, params: dict[str, Any]) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def test_the_repository_s_own_params_are_right(root: Path) -> None:
    """A fresh clone passes its own check."""
    check_params(root)


def test_every_stage_is_checked(root: Path) -> None:
    """No stage of dvc.yaml escapes the check of values."""
    assert list(declared_keys(root)) == [*STAGES[:3], "train_seed", *STAGES[3:]]  # one runs train
    for stage in STAGES:
        assert declared_keys(root)[stage]


@pytest.mark.parametrize("cmd", ["sh train.sh", "[sh train.sh, sh more.sh]"])
def test_an_entry_that_runs_something_else_has_params_of_its_own(tmp_path: Path, cmd: str) -> None:
    """Though it is called like a stage of this project."""
    (tmp_path / "dvc.yaml").write_text(f"stages: {{train: {{cmd: {cmd}, params: [toy.rate]}}}}\n")
    (tmp_path / "params.yaml").write_text("toy: {rate: 1}\n")
    check_params(tmp_path)


def test_an_unknown_key_is_named_with_its_section_and_the_nearest(root: Path, params: dict[str, Any]) -> None:
    """A misspelt key would otherwise be silently without effect."""
    params["training"]["learning_rat"] = params["training"].pop("learning_rate")
    write(root, params)
    with pytest.raises(ParamsError, match=r"\[training\] unknown key `learning_rat`; did you mean `learning_rate`"):
        refuse_unknown_keys(root)


def test_a_key_that_was_retired_says_what_replaced_it(root: Path, params: dict[str, Any]) -> None:
    """A params.yaml from before an update is not a spelling mistake."""
    params["evaluation"]["bootstrap"] = "percentile"
    write(root, params)
    with pytest.raises(ParamsError, match=r"evaluation\.bootstrap. is no longer a key: intervals") as caught:
        refuse_unknown_keys(root)
    assert caught.value.remedy == "remove `evaluation.bootstrap`"


def test_an_unknown_top_level_key_is_named(root: Path, params: dict[str, Any]) -> None:
    """A key outside every section has no section in its message."""
    write(root, {**params, "seed": 1})
    with pytest.raises(ParamsError, match=r"params\.yaml unknown key `seed`"):
        refuse_unknown_keys(root)


def test_a_key_written_with_a_dot_is_refused(root: Path, params: dict[str, Any]) -> None:
    """As -S takes it. DVC and the stages would go on with the value in the section."""
    write(root, {**params, "training.max_epochs": 50})
    with pytest.raises(ParamsError, match=r"`training\.max_epochs` is a key with a dot") as caught:
        check_params(root)
    assert caught.value.remedy == "write `max_epochs:` below `training:`, and remove this line"


@pytest.mark.parametrize("value", [None, 3, {}, []])
def test_a_section_without_keys_is_named(root: Path, params: dict[str, Any], value: object) -> None:
    """A section whose keys are all commented out is null to YAML."""
    write(root, {**params, "training": value})
    with pytest.raises(ParamsError, match=r"params\.yaml \[training\] holds no keys"):
        check_params(root)


@pytest.mark.parametrize(
    ("section", "key"),
    [("ingest", "source"), ("preprocess", "num_folds"), ("training", "max_epochs"), ("evaluation", "threshold")],
)
def test_a_missing_key_is_named(root: Path, params: dict[str, Any], section: str, key: str) -> None:
    """There are no hidden defaults: what params.yaml lacks is an error."""
    del params[section][key]
    write(root, params)
    with pytest.raises(ParamsError, match=f"no key `{section}.{key}`"):
        check_params(root)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("ingest", "on_invalid", "ignore"),
        ("preprocess", "num_folds", "three"),
        ("preprocess", "percentile_low", 101),
        ("training", "max_epochs", 2.5),
        ("training", "patch_voxels", [12, 96]),
        ("training", "learning_rate", "1e-3"),
        ("training", "precision", "fp8"),
        ("evaluation", "overlap", 1.5),
        ("evaluation", "confidence", 95),
    ],
)
def test_a_value_that_its_stage_would_refuse_is_named(
    params: dict[str, Any], section: str, key: str, value: object
) -> None:
    """Each stage's own model decides, before anything runs; the message has file, section and key."""
    params[section][key] = value
    with pytest.raises(ParamsError, match=key) as caught:
        check_values(params, REPOSITORY, origin="params.yaml")
    report = caught.value.report()
    assert f"params.yaml [{section}" in report or f"params.yaml `{section}.{key}`" in report


def test_keys_below_a_declared_section_are_known(tmp_path: Path) -> None:
    """An entry may declare a whole section, another params file, or come from foreach."""
    (tmp_path / "params.yaml").write_text("plot: {style: {width: 1}}\nother: {a: 1}\n")
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  draw: {cmd: x, params: [plot, extra.yaml: [z]]}\n"
        "  each: {foreach: [1], do: {cmd: y, params: [other.a]}}\n"
        "  none: {cmd: z, params: }\n"
    )
    assert declared_keys(tmp_path) == {"draw": ["plot"], "each": ["other.a"], "none": []}
    check_params(tmp_path)


def test_a_key_that_only_starts_like_a_known_one_is_unknown(tmp_path: Path) -> None:
    """`plots` is not below `plot`, which is offered."""
    (tmp_path / "dvc.yaml").write_text("stages: {draw: {cmd: x, params: [plot]}}\n")
    (tmp_path / "params.yaml").write_text("plots: {style: 1}\n")
    with pytest.raises(ParamsError, match=r"unknown section `plots`; did you mean `plot`") as caught:
        check_params(tmp_path)
    assert "plots.style" in caught.value.remedy


def test_a_missing_section_is_named_with_its_first_key(tmp_path: Path) -> None:
    """Also where it holds nothing."""
    for text in ("ingest: {source: x}\n", "ingest: {source: x}\npreprocess:\n"):
        (tmp_path / "params.yaml").write_text(text)
        with pytest.raises(ParamsError, match=r"^my\.yaml has no key `preprocess.normalisation`"):
            check_values({**read_params_file(tmp_path), "ingest": params_of("ingest")}, REPOSITORY, origin="my.yaml")


def params_of(section: str) -> Any:
    """That section of the repository's params."""
    return read_params_file(REPOSITORY)[section]


def test_a_workspace_without_stages_declares_nothing(tmp_path: Path) -> None:
    """An empty graph is not an error."""
    (tmp_path / "dvc.yaml").write_text("stages:\n")
    assert declared_keys(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("trainig: {max_epochs: 3}", r"unknown section `trainig`; did you mean `training`\?"),
        ("other: {max_epochs: 3}", r"unknown section `other`; did you mean `training.max_epochs`\?"),
        ("max_epochs: 3", r"unknown key `max_epochs`; did you mean `training.max_epochs`\?"),
        ("zzz: 3", r"unknown key `zzz`; known: evaluation, ingest, preprocess, training$"),
    ],
)
def test_an_unknown_section_is_named_with_the_nearest(root: Path, text: str, what: str) -> None:
    """A key at the wrong place is offered its own; else the sections are listed, not all keys."""
    file = root / "params.yaml"
    file.write_text(file.read_text() + text + "\n")
    with pytest.raises(ParamsError, match=what):
        refuse_unknown_keys(root)
