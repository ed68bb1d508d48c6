"""`capillary check`: params.yaml and every experiment file."""

import shutil
from pathlib import Path

import pytest

from capillary.experiments.check import EXPERIMENTS, check_project
from stages.common.errors import ParamsError
from tests.support.parts import REPOSITORY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """This repository's params, and one experiment of its own."""
    for name in ("dvc.yaml", "params.yaml", "configs/splits/generated.json", "configs/experiments/smoke.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def test_the_repository_s_own_experiments_are_right() -> None:
    """A fresh clone passes its own check."""
    check_project(REPOSITORY)


@pytest.mark.parametrize(
    ("section", "what", "remedy"),
    [
        ("training: {foo: 1}", "unknown key `training.foo`", "rename or remove"),
        ("training: {losses: dice_ce}", "`losses`: a list is meant", "[dice_ce]"),
        ("training: {losses: [dice_cee]}", "did you mean `dice_ce`", "docs/losses.md"),
        ("training: {learning_rate: '1e-4'}", "YAML reads it as text", "1.0e-4"),
        ("training: {architecture: unett}", "did you mean `unet`", "adding-a-model"),
        ("training: {max_epochs: 0}", "greater than 0", "training.max_epochs"),
        ("evaluation: {metrics: [dcs]}", "did you mean `dsc`", "evaluation.metrics"),
        ("training: {folds: [7]}", "`training.folds`", "count from 0"),
    ],
)
def test_a_mistake_in_an_experiment_file_is_named_with_the_file(
    root: Path, section: str, what: str, remedy: str
) -> None:
    """Whatever params.yaml itself may hold."""
    check_project(root)
    (root / EXPERIMENTS / "mine.yaml").write_text(f"experiment: {{name: mine}}\n{section}\n")
    with pytest.raises(ParamsError) as caught:
        check_project(root)
    assert "mine.yaml" in caught.value.report()
    assert what in caught.value.what
    assert remedy in caught.value.remedy
