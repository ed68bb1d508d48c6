import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import load_yaml

from capillary.experiments.config import get
from capillary.experiments.workspace import apply_overrides, base_params
from capillary.params_file import read_params_file
from stages.common.errors import DamagedError

PARAMS = """\
# every setting
training:
  losses: [dice_ce]     # which
  folds:
  - 0
  - 1
  epochs: 10
  limit: null           # none
evaluation: {threshold: 0.5}
"""
PLAIN = yaml.safe_load(PARAMS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def test_only_overridden_values_change_and_comments_stay(root: Path) -> None:
    """The file stays the user's: layout, comments, null."""
    apply_overrides(root, {"training.losses": ["dice_ce", "cbdice"], "training.epochs": 3})
    text = (root / "params.yaml").read_text()
    training = {**PLAIN["training"], "losses": ["dice_ce", "cbdice"], "epochs": 3}
    assert yaml.safe_load(text) == {**PLAIN, "training": training}
    assert "losses: [dice_ce, cbdice]" in text
    for comment in ("# every setting", "# which", "# none"):
        assert comment in text
    assert "limit: null" in text


def test_what_the_file_holds_already_is_not_written_again(root: Path) -> None:
    """Byte for byte: DVC and Git see no change."""
    apply_overrides(root, {"training.epochs": 10})
    assert (root / "params.yaml").read_text() == PARAMS


def test_the_next_experiment_inherits_nothing(root: Path) -> None:
    """Overrides of one file are out again when another one runs."""
    apply_overrides(root, {"training.epochs": 3, "evaluation.threshold": 0.9})
    assert base_params(root) == PLAIN
    apply_overrides(root, {"training.epochs": 4})
    assert read_params_file(root)["training"]["epochs"] == 4
    assert read_params_file(root)["evaluation"]["threshold"] == 0.5
    apply_overrides(root, {})
    assert read_params_file(root) == PLAIN


def test_the_same_experiment_again_changes_nothing(root: Path) -> None:
    """And its base is still that of before."""
    for _ in range(3):
        apply_overrides(root, {"training.epochs": 3})
        assert base_params(root) == PLAIN
        assert read_params_file(root)["training"]["epochs"] == 3


def test_what_somebody_changed_by_hand_stays(root: Path) -> None:
    """Only a key that still holds the experiment's value is put back."""
    apply_overrides(root, {"training.epochs": 3, "evaluation.threshold": 0.9})
    file = root / "params.yaml"
    file.write_text(file.read_text().replace("epochs: 3", "epochs: 77"))
    assert base_params(root)["training"]["epochs"] == 77
    assert base_params(root)["evaluation"]["threshold"] == 0.5


@pytest.mark.parametrize("kept", ["old params", "new params"])
def test_a_run_killed_between_memory_and_change_loses_nothing(
    root: Path, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At either side of the moment in which params.yaml changes, the base is known."""
    apply_overrides(root, {"training.epochs": 3})

    class KilledError(Exception):
        pass

    def killed(file: Path, changes: dict[str, Any]) -> None:
        if kept == "new params":
            edit(file, changes)
        raise KilledError

    from capillary.experiments import workspace

    edit = workspace._edit
    monkeypatch.setattr(workspace, "_edit", killed)
    with pytest.raises(KilledError):
        apply_overrides(root, {"training.epochs": 4, "evaluation.threshold": 0.9})
    assert base_params(root) == PLAIN


@pytest.mark.parametrize(
    "value",
    [
        *("../my stacks/µm", "a=b", "it's", 'say "x"', "\\", "a\\b", "end\\", "[x]", "{x: 1}", "a:b", "x # y", "$HOME"),
        *("~/x", "@x", "*", "", " lead ", "a\tb", "line\nbreak", "null", "true", "1", "1e-5", "s3://b/a?b=c&d", "no"),
        *(None, True, False, 0, -3, 12345678901234567890, 0.002, 1e-5, -2.5e-7, 1e22),
        *([], [1, [2.5, [None]]], ["a b", "it's", "c\\"], [True, 1e-5, -1]),
    ],
    ids=repr,
)
def test_dvc_reads_every_value_back_as_it_was(root: Path, value: Any) -> None:
    """DVC's own reader gives the very value and type."""
    apply_overrides(root, {"training.epochs": value})
    found = get(load_yaml(str(root / "params.yaml")), "training.epochs")
    assert found == value
    assert type(found) is type(value)


def test_a_former_experiments_values_are_somebodys_own_later_on(root: Path) -> None:
    """Only what the last experiment wrote is put back: the one before it is forgotten."""
    apply_overrides(root, {"training.epochs": 3})
    apply_overrides(root, {"evaluation.threshold": 0.9})
    file = root / "params.yaml"
    file.write_text(file.read_text().replace("epochs: 10", "epochs: 3"))
    assert base_params(root)["training"]["epochs"] == 3


def test_a_key_that_somebody_removed_is_not_put_back(root: Path) -> None:
    """Nor is it missed; the rest of the base is as before."""
    apply_overrides(root, {"training.epochs": 3, "evaluation.threshold": 0.9})
    (root / "params.yaml").write_text("training: {folds: [0, 1]}\nevaluation: 7\n")
    assert base_params(root) == {"training": {"folds": [0, 1]}, "evaluation": 7}
    (root / "params.yaml").write_text("training: {folds: [0, 1]}\nevaluation: {threshold: 0.9}\n")
    assert base_params(root) == {"training": {"folds": [0, 1]}, "evaluation": {"threshold": 0.5}}


def test_lines_that_do_not_change_stay_as_they_are(root: Path) -> None:
    """Quotes, long lines, null, and a list in its own style."""
    text = PARAMS + f"note: 'quoted'\nlong: {'word ' * 60}end\n"
    (root / "params.yaml").write_text(text)
    apply_overrides(root, {"training.epochs": 3, "training.folds": [1, 0]})
    expected = text.replace("epochs: 10", "epochs: 3").replace("  - 0\n  - 1\n", "  - 1\n  - 0\n")
    assert (root / "params.yaml").read_text() == expected


def test_git_sees_a_small_change(root: Path) -> None:
    """A line a key, as a person would have written it."""
    for argv in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(argv, cwd=root, check=True)
    apply_overrides(root, {"training.losses": ["cbdice"]})
    diff = subprocess.run(
        ["git", "diff", "--numstat", "params.yaml"], cwd=root, capture_output=True, text=True, check=True
    )
    assert diff.stdout.split()[:2] == ["1", "1"]


@pytest.mark.parametrize("torn", ["", "[1]", '{"training.epochs": {"before": 1}}', '{"training.epochs": 1}'])
def test_a_damaged_memory_of_overrides_is_named_and_nothing_changes(root: Path, torn: str) -> None:
    """Without it nobody knows what the last experiment changed: params.yaml and the memory stay as they are."""
    apply_overrides(root, {"training.epochs": 3})
    before, file = (root / "params.yaml").read_text(), root / ".capillary/experiments/overrides.json"
    file.write_text(torn)
    for act in (lambda: base_params(root), lambda: apply_overrides(root, {"training.epochs": 4})):
        with pytest.raises(DamagedError, match="cannot be read") as refused:
            act()
        assert refused.value.file == file
    assert (root / "params.yaml").read_text() == before
    assert file.read_text() == torn
