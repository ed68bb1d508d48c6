"""An evaluation without some cells: what it covers, what it compares, and how its results are marked."""

import csv
import json
from pathlib import Path

import pytest

from stages.common.cell_name import CellName
from stages.common.splits import Fold, write_splits
from stages.evaluate.partial import PARTIAL, Coverage, comparable, coverage_of
from stages.evaluate.pictures.overlays import choose
from stages.evaluate.results.outputs import write_outputs
from stages.evaluate.results.report import print_summary
from stages.evaluate.statistics.paired import compare_losses
from stages.evaluate.statistics.summary import summarise
from tests.unit.stages.evaluate.made import evaluation, row
from tests.unit.stages.evaluate.made import training as trained

EVALUATION = evaluation()
COVERAGE = Coverage(missing=(CellName("cbdice", 1),), volumes=4)
# volumes 0 and 2 are of fold 0, 1 and 3 of fold 1
ROWS = [
    *(row("dice_ce", index, dsc) for index, dsc in enumerate((0.5, 0.6, 0.7, 0.9))),
    row("cbdice", 0, 0.55),
    row("cbdice", 2, 0.65),
]


def test_missing_cells_come_in_the_order_of_params_and_volumes_are_those_of_every_fold(tmp_path: Path) -> None:
    """Over how many volumes a mean of all folds would run; a fold that was never drawn has none."""
    folds = [
        Fold(train=("c", "d"), val=("a", "b")),
        Fold(train=("a", "b", "d"), val=("c",)),
        Fold(train=(), val=("d",)),
    ]
    write_splits(tmp_path, folds)
    training = trained(losses=("dice_ce", "cbdice"), folds=(0, 1))
    found = coverage_of(training, tmp_path, [CellName("cbdice", 1), CellName("dice_ce", 0)])
    assert found == Coverage(missing=(CellName("dice_ce", 0), CellName("cbdice", 1)), volumes=3)
    assert found.words() == "dice_ce fold 0, cbdice fold 1"
    assert not coverage_of(training, tmp_path, ()).is_partial
    beyond = trained(losses=("dice_ce",), folds=(0, 7))
    assert coverage_of(beyond, tmp_path, [CellName("dice_ce", 7)]) == Coverage(
        missing=(CellName("dice_ce", 7),), volumes=2
    )


def test_losses_are_compared_on_volumes_that_both_have() -> None:
    """And those without any in common not at all."""
    (primary, *_) = compare_losses(ROWS, EVALUATION)
    assert (primary.loss, primary.other, primary.volumes) == ("dice_ce", "cbdice", 2)
    assert primary.difference == pytest.approx(0.0)
    apart = [one for one in ROWS if (one.loss, one.fold) in {("dice_ce", 1), ("cbdice", 0)}]
    assert compare_losses(apart, EVALUATION) == []


def test_pictures_are_of_the_loss_that_is_better_on_common_volumes() -> None:
    """dice_ce has the higher mean by a volume that cbdice was not measured on."""
    rows = [*ROWS[:4], row("cbdice", 0, 0.58), row("cbdice", 2, 0.72)]
    shown = comparable(rows)
    assert [(one.loss, one.id) for one in shown] == [(loss, v) for loss in ("dice_ce", "cbdice") for v in ("v0", "v2")]
    assert {chosen.row.loss for chosen in choose(shown, summarise(shown, EVALUATION))} == {"cbdice"}
    apart = [ROWS[1], ROWS[4]]
    assert comparable(apart) == [ROWS[1]]
    whole = ROWS[:4]
    assert comparable(whole) == whole


def test_metrics_json_says_what_is_missing_and_over_how_many_volumes_each_mean_runs(tmp_path: Path) -> None:
    """Under a key that fails whoever takes it for a loss; a whole evaluation has no such key."""
    summary, differences = summarise(ROWS, EVALUATION), compare_losses(ROWS, EVALUATION)
    write_outputs(tmp_path / "part", ROWS, summary, differences, COVERAGE)
    metrics = json.loads((tmp_path / "part" / "metrics.json").read_text())
    assert metrics.pop(PARTIAL) == {
        "missing": [{"loss": "cbdice", "fold": 1}],
        "volumes": {"dice_ce": 4, "cbdice": 2},
        "of_volumes": 4,
    }
    write_outputs(tmp_path / "whole", ROWS, summary, differences, Coverage(missing=(), volumes=4))
    assert json.loads((tmp_path / "whole" / "metrics.json").read_text()) == metrics
    pairs = list(csv.DictReader((tmp_path / "part" / "paired.csv").open()))
    assert {line["volumes"] for line in pairs} == {"2"}


def test_the_terminal_says_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Each loss with its n of N volumes, and which cells were left out."""
    print_summary(ROWS, summarise(ROWS, EVALUATION), EVALUATION, COVERAGE)
    shown = " ".join(capsys.readouterr().out.split())
    assert "4 of 4" in shown
    assert "2 of 4" in shown
    assert "partial: cbdice fold 1 left out" in shown
    print_summary(ROWS, summarise(ROWS, EVALUATION), EVALUATION, Coverage(missing=(), volumes=4))
    shown = capsys.readouterr().out
    assert "partial" not in shown
    assert "of 4" not in shown
