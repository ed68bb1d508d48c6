"""Params of a project that has its own stages: checked before any of them starts, with the project's own models."""

from pathlib import Path

import pytest

from capillary.params_file import check_params
from capillary.params_models import load_model
from stages.common.errors import CapillaryError, ExitCode, ParamsError
from tests.support.parts import REPOSITORY

MODEL = """
from pydantic import BaseModel


class Train(BaseModel, frozen=True, extra="forbid", strict=True):
    rate: float


class TrainParams(BaseModel, frozen=True, extra="forbid", strict=True):
    train: Train
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project whose stage `train` has nothing to do with vessels, though keys are called as theirs."""
    (tmp_path / "dvc.yaml").write_text(
        "stages: {train: {cmd: capillary stage train, params: [train.rate, training.losses, training.folds]}}\n"
    )
    (tmp_path / "stages" / "train").mkdir(parents=True)
    return tmp_path


def write(root: Path, rate: str) -> None:
    (root / "params.yaml").write_text(f"train: {{rate: {rate}}}\ntraining: {{losses: [hinge], folds: [7]}}\n")


def test_a_project_without_models_has_params_of_any_kind(root: Path) -> None:
    """Neither the types nor the rules of the vessels' params are asked for."""
    write(root, "fast")
    check_params(root)


def test_a_project_s_own_model_is_asked(root: Path) -> None:
    """With the same words as for any other param."""
    (root / "dvc.yaml").write_text("stages: {train: {cmd: capillary stage train, params: [train.rate]}}\n")
    (root / "stages" / "train" / "params.py").write_text(MODEL)
    (root / "params.yaml").write_text("train: {rate: 0.5}\n")
    check_params(root)
    (root / "params.yaml").write_text("train: {rate: '0.5'}\n")
    with pytest.raises(ParamsError, match=r"params.yaml \[train\] `rate`: should be a number") as caught:
        check_params(root)
    assert "without quotes" in caught.value.remedy


def test_a_model_may_be_written_with_postponed_annotations(tmp_path: Path) -> None:
    """They are looked up in the module by its name."""
    (tmp_path / "params.py").write_text(f"from __future__ import annotations\n{MODEL}")
    assert load_model(tmp_path / "params.py", "TrainParams").model_validate({"train": {"rate": 0.5}})


@pytest.mark.parametrize("stage", ["ingest", "preprocess", "train", "evaluate"])
def test_a_copy_of_this_project_is_checked_with_its_own_models(stage: str) -> None:
    """A clone or a temporary experiment, whose code may be newer than that of this program."""
    file = REPOSITORY / "stages" / stage / "params.py"
    assert set(load_model(file, f"{stage.capitalize()}Params").model_fields)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import no_such_package\n", "cannot be loaded: No module named 'no_such_package'"),
        ("class TrainParams(:\n", "cannot be loaded"),
        ("class TrainParams(Basemodel): pass\n", "cannot be loaded: name 'Basemodel'"),
        ("x = 1\n", "has no model TrainParams"),
        ("TrainParams = dict\n", "has no model TrainParams"),
    ],
)
def test_a_model_that_the_launcher_cannot_use_is_named(tmp_path: Path, text: str, what: str) -> None:
    """With the file and what it should hold."""
    file = tmp_path / "train" / "params.py"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(CapillaryError, match=what) as caught:
        load_model(file, "TrainParams")
    assert caught.value.file == file
    assert caught.value.code == ExitCode.USAGE
    assert "class TrainParams(BaseModel)" in caught.value.remedy
