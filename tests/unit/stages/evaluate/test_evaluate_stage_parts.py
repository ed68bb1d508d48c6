"""Cells, summary, tables and report of the evaluate stage."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

from stages.common.backends.network import PreparedNetwork
from stages.common.cell_name import CellName
from stages.common.errors import DataError
from stages.common.imaging.volumes import Checksums, Volume, write_manifest
from stages.common.metrics import METRICS
from stages.common.splits import Fold, write_splits
from stages.common.tracking.cards.card import ModelCard, write_card
from stages.evaluate.cells import read_cells
from stages.evaluate.measure import measure
from stages.evaluate.metrics.bands import BandCounts
from stages.evaluate.pictures.overlays import choose, write_overlays
from stages.evaluate.predict import predict_volume
from stages.evaluate.results.outputs import write_bands, write_outputs
from stages.evaluate.results.report import print_summary
from stages.evaluate.row import Row
from stages.evaluate.statistics.intervals import interval_of_mean
from stages.evaluate.statistics.paired import compare_losses
from stages.evaluate.statistics.summary import summarise
from tests.support.models.prepared import BY_TORCH
from tests.support.tracking import cards
from tests.unit.stages.evaluate.made import evaluation, some_views
from tests.unit.stages.evaluate.made import training as trained

EVALUATION = evaluation()
CARD = replace(cards.CARD, patch_voxels=(3, 8, 8))


def row(loss: str, index: int, *, empty: bool = False, metrics: tuple[str, ...] = tuple(METRICS)) -> Row:
    rng = np.random.default_rng(index)
    reference = rng.random((4, 9, 9)) < 0.3
    prediction = np.zeros_like(reference) if empty else reference ^ (rng.random(reference.shape) < 0.1)
    return Row(
        loss=loss,
        fold=index % 2,
        id=f"v{index}",
        group=f"v{index}",
        measurement=measure(
            prediction, reference, (5.0, 1.0, 1.0), metrics=metrics, nsd_tolerance_um=1.0, radius_bands_um=(1.0, 2.0)
        ),
        views=some_views(index),
        weights_sha256="0" * 64,
        seconds=float(index),
    )


@pytest.fixture
def processed(tmp_path: Path) -> Path:
    """Three volumes: one held out by each of two folds, the third by none; fold 2 holds nothing out."""
    folder = tmp_path / "data" / "processed"
    volumes = []
    for index, name in enumerate("abc"):
        volume = Volume(
            id=name,
            group=name,
            shape_zyx=(3, 8, 8),
            spacing_um=(5.0, 1.0, 1.0),
            foreground_share=0.1,
            fold=index if index < 2 else -1,
            folder=folder / name,
        )
        volume.folder.mkdir(parents=True)
        np.save(volume.folder / "image.npy", np.zeros((3, 8, 8), dtype=np.float32))
        for array in ("label", "skeleton"):
            np.save(volume.folder / f"{array}.npy", np.zeros((3, 8, 8), dtype=np.uint8))
        volumes.append((volume, Checksums(image="", label="", skeleton="")))
    write_manifest(folder, volumes)
    write_splits(
        folder, [Fold(train=("b", "c"), val=("a",)), Fold(train=("a", "c"), val=("b",)), Fold(train=(), val=())]
    )
    return folder


def write_cards(models: Path, losses: tuple[str, ...], folds: tuple[int, ...]) -> None:
    for loss in losses:
        for fold in folds:
            write_card(models / loss / f"fold_{fold}.json", replace(CARD, loss=loss, fold=fold))


def test_cells_are_every_loss_on_every_fold_with_its_held_out_volumes(processed: Path, tmp_path: Path) -> None:
    """Each cell has its own card and the volumes that its network never saw; a fold without any is left with none."""
    losses, folds = ("dice_ce", "cbdice"), (0, 1, 2)
    write_cards(tmp_path / "models", losses, folds)
    cells = read_cells(trained(losses=losses, folds=folds), processed, tmp_path / "models")
    found = [(cell.loss, cell.fold, [volume.id for volume in cell.volumes]) for cell in cells]
    assert found == [(loss, fold, held) for loss in losses for fold, held in ((0, ["a"]), (1, ["b"]), (2, []))]
    assert all((cell.card.loss, cell.card.fold) == (cell.loss, cell.fold) for cell in cells)


def test_a_cell_that_was_not_trained_is_named_with_its_remedy(processed: Path, tmp_path: Path) -> None:
    """A missing card says which training to run."""
    write_cards(tmp_path / "models", ("dice_ce",), (0,))
    with pytest.raises(DataError) as caught:
        read_cells(trained(losses=("dice_ce",), folds=(0, 1)), processed, tmp_path / "models")
    assert "dvc repro train@dice_ce-1" in caught.value.remedy


def test_cells_that_are_left_out_need_no_card(processed: Path, tmp_path: Path) -> None:
    """A loss of which none is left is not a loss of this evaluation; a fold of which none is left is not split."""
    write_cards(tmp_path / "models", ("dice_ce",), (0,))
    training = trained(losses=("dice_ce", "cbdice"), folds=(0, 1))
    left_out = [CellName("dice_ce", 1), CellName("cbdice", 0), CellName("cbdice", 1)]
    (cell,) = read_cells(training, processed, tmp_path / "models", left_out)
    assert (cell.loss, cell.fold) == ("dice_ce", 0)
    with pytest.raises(DataError, match="nothing to evaluate"):
        read_cells(training, processed, tmp_path / "models", [*left_out, CellName("dice_ce", 0)])


def test_a_fold_that_holds_nothing_out_is_reported(
    processed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line per such fold; other folds are not mentioned."""
    write_cards(tmp_path / "models", ("dice_ce",), (0, 2))
    read_cells(trained(losses=("dice_ce",), folds=(0, 2)), processed, tmp_path / "models")
    assert capsys.readouterr().out == "warning: fold 2 has no validation volume and does not enter the means\n"


def test_a_fold_that_the_splits_do_not_hold_is_refused(processed: Path, tmp_path: Path) -> None:
    """training.folds beyond splits.json is an error about the fold, not about a card."""
    write_cards(tmp_path / "models", ("dice_ce",), (0, 7))
    with pytest.raises(DataError, match="fold 7 does not exist"):
        read_cells(trained(losses=("dice_ce",), folds=(0, 7)), processed, tmp_path / "models")


def test_a_card_of_another_cell_is_refused(processed: Path, tmp_path: Path) -> None:
    """A card in the wrong place would evaluate a network on its own training volumes, or under another loss."""
    for loss, fold in (("dice_ce", 1), ("cbdice", 0)):
        file = tmp_path / "models" / loss / f"fold_{fold}.json"
        write_card(file, CARD)
        with pytest.raises(DataError, match="another cell") as caught:
            read_cells(trained(losses=(loss,), folds=(fold,)), processed, tmp_path / "models")
        assert (caught.value.file, caught.value.value) == (file, "loss dice_ce, fold 0, seed 2026")
        assert f"dvc repro -f -s train@{loss}-{fold}" in caught.value.remedy


def test_folds_that_hold_nothing_out_cannot_be_evaluated(processed: Path, tmp_path: Path) -> None:
    """Without any held-out volume there is no mean to give."""
    write_cards(tmp_path / "models", ("dice_ce",), (2,))
    with pytest.raises(DataError, match="nothing to evaluate") as caught:
        read_cells(trained(losses=("dice_ce",), folds=(2,)), processed, tmp_path / "models")
    assert caught.value.value == [2]


class NotANumber(torch.nn.Module):
    """A network whose weights went to NaN."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return torch.full((len(patches), 2, *patches.shape[2:]), torch.nan)


@pytest.mark.parametrize(
    ("model", "card", "text"),
    [
        (NotANumber(), CARD, "predicts NaN on volume a"),
        (torch.nn.Conv3d(1, 2, 1), replace(CARD, precision="int4"), "unknown precision"),
    ],
)
def test_a_network_that_cannot_be_measured_is_an_error(
    processed: Path, tmp_path: Path, model: torch.nn.Module, card: ModelCard, text: str
) -> None:
    """NaN is not background, and a precision that is not known is not guessed."""
    write_cards(tmp_path / "models", ("dice_ce",), (0,))
    (cell,) = read_cells(trained(losses=("dice_ce",), folds=(0,)), processed, tmp_path / "models")
    with pytest.raises(DataError, match=text):
        predict_volume(PreparedNetwork(model, card, BY_TORCH), cell.volumes[0], card, EVALUATION)


def test_a_volume_with_an_empty_prediction_counts_in_the_mean() -> None:
    """The mean is over all volumes, the failed ones included."""
    rows = [row("dice_ce", 0), row("dice_ce", 1, empty=True)]
    found = summarise(rows, EVALUATION)["dice_ce"]
    assert found["dsc"].mean == pytest.approx(rows[0].measurement.values["dsc"] / 2)
    assert found["measured_masd_um"].mean > rows[0].measurement.values["measured_masd_um"]


def test_outputs_have_the_fixed_shape_and_agree(tmp_path: Path) -> None:
    """metrics.json is {loss: {metric: {mean, ci_low, ci_high}}}; CSV and Parquet tell the same values."""
    rows = [row(loss, index, empty=index == 3) for loss in ("dice_ce", "cbdice") for index in range(5)]
    summary = summarise(rows, EVALUATION)
    write_outputs(tmp_path, rows, summary, compare_losses(rows, EVALUATION))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics) == ["dice_ce", "cbdice"]
    for loss in metrics.values():
        assert tuple(loss) == tuple(METRICS)
        assert all(set(interval) == {"mean", "ci_low", "ci_high"} for interval in loss.values())
    table = pyarrow.parquet.read_table(tmp_path / "per_volume.parquet").to_pylist()
    text = list(csv.DictReader((tmp_path / "per_volume.csv").open()))
    assert len(table) == len(text) == 10
    assert {name: str(value) for name, value in table[3].items()} == text[3]
    assert (table[3]["rule"], table[3]["distance_is_worst_case"]) == ("prediction_empty", True)
    assert np.mean([line["dsc"] for line in table[:5]]) == pytest.approx(metrics["dice_ce"]["dsc"]["mean"])
    lines = list(csv.DictReader((tmp_path / "summary.csv").open()))
    assert [(line["loss"], line["metric"]) for line in lines] == [(x, y) for x in metrics for y in METRICS]
    assert float(lines[0]["ci_low"]) == metrics["dice_ce"]["dsc"]["ci_low"]
    pairs = list(csv.DictReader((tmp_path / "paired.csv").open()))
    assert [(line["loss"], line["other"], line["metric"]) for line in pairs] == [
        ("dice_ce", "cbdice", x) for x in METRICS
    ]
    means = [metrics[loss]["dsc"]["mean"] for loss in ("dice_ce", "cbdice")]
    assert float(pairs[0]["difference"]) == pytest.approx(means[0] - means[1])
    assert [line["role"] for line in pairs] == ["primary", *["exploratory"] * (len(METRICS) - 1)]
    assert (pairs[0]["p_holm"] != "", {line["p_holm"] for line in pairs[1:]}) == (True, {""})


def test_few_groups_leave_the_ends_of_intervals_open(tmp_path: Path) -> None:
    """null in JSON, nothing in a table; means and differences stand."""
    rows = [row(loss, index) for loss in ("dice_ce", "cbdice") for index in range(4)]
    write_outputs(tmp_path, rows, summarise(rows, EVALUATION), compare_losses(rows, EVALUATION))
    interval = json.loads((tmp_path / "metrics.json").read_text())["dice_ce"]["dsc"]
    assert interval["mean"] > 0
    assert (interval["ci_low"], interval["ci_high"]) == (None, None)
    for name in ("summary.csv", "paired.csv"):
        lines = list(csv.DictReader((tmp_path / name).open()))
        assert {(line["ci_low"], line["ci_high"]) for line in lines} == {("", "")}


def test_bands_of_radius_have_a_line_where_the_label_has_vessels(tmp_path: Path) -> None:
    """Limits, counts and what follows from them; the last band has no upper end."""
    one = row("dice_ce", 0)
    counts = (BandCounts(8, 4, 4, 3, 5, 4), BandCounts(), BandCounts(2, 2, 1, 1, 0, 0))
    write_bands(tmp_path, [replace(one, measurement=replace(one.measurement, bands=counts))], (3.0, 6.0))
    thin, thick = csv.DictReader((tmp_path / "radius_bands.csv").open())
    assert [thin[name] for name in ("loss", "id", "band", "from_um", "to_um")] == [
        "dice_ce",
        "v0",
        "thin",
        "0.0",
        "3.0",
    ]
    assert (thin["recall"], float(thin["centreline_dsc"])) == ("0.5", pytest.approx(2 * 0.75 * 0.8 / 1.55))
    assert (thick["band"], thick["from_um"], thick["to_um"]) == ("thick", "6.0", "inf")
    assert (thick["recall"], thick["centreline_dsc"]) == ("1.0", "0.0")


def test_equal_results_give_equal_bytes_whatever_the_time(tmp_path: Path) -> None:
    """How long a volume took is in no file."""
    rows = [row("dice_ce", index) for index in range(3)]
    for name, factor in (("one", 1), ("two", 7)):
        timed = [replace(one, seconds=one.seconds * factor) for one in rows]
        write_outputs(tmp_path / name, timed, summarise(timed, EVALUATION), compare_losses(timed, EVALUATION))
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert set(one) == {"per_volume.parquet", "per_volume.csv", "summary.csv", "paired.csv", "metrics.json"}
    assert one == two
    assert {len(content) > 100 for content in one.values() if content != one["paired.csv"]} == {True}


def test_the_report_shows_intervals_and_what_was_set_by_rule(capsys: pytest.CaptureFixture[str]) -> None:
    """The table shows mean and interval, and NSD its tolerance; a volume set by rule is pointed out."""
    rows = [row("dice_ce", index, empty=True) for index in range(5)]
    print_summary(rows, summarise(rows, EVALUATION), EVALUATION)
    shown = capsys.readouterr().out
    assert "0.000 [0.000, 0.000]" in shown
    assert "[95% interval]" in shown
    assert "NSD (τ = 1 µm)" in shown
    assert "v0: set by the rule `prediction_empty`" in shown


@pytest.mark.parametrize("metrics", [("hd95_um",), ("nsd", "betti_1_error", "dsc")])
def test_outputs_hold_the_chosen_metrics_in_their_order(tmp_path: Path, metrics: tuple[str, ...]) -> None:
    """Every table has the metrics of params.yaml and no others; the first chooses what is pictured."""
    chosen = evaluation(metrics=metrics)
    rows = [row("dice_ce", index, metrics=metrics) for index in range(4)]
    summary = summarise(rows, chosen)
    write_outputs(tmp_path, rows, summary, compare_losses(rows, chosen))
    write_overlays(tmp_path, choose(rows, summary))
    assert list(json.loads((tmp_path / "metrics.json").read_text())["dice_ce"]) == list(metrics)
    columns = pyarrow.parquet.read_schema(tmp_path / "per_volume.parquet").names
    assert [name for name in columns if name in METRICS] == list(metrics)
    assert [line["metric"] for line in csv.DictReader((tmp_path / "summary.csv").open())] == list(metrics)
    entries = json.loads((tmp_path / "overlays.json").read_text())
    assert {entry["metric"] for entry in entries} == {metrics[0]}
    values = [entry["value"] for entry in entries]
    assert values == sorted(values, reverse=not METRICS[metrics[0]].less_is_better)


def in_groups(*groups: str) -> list[Row]:
    """A volume of each of `groups`, in that order."""
    return [replace(row("dice_ce", index), group=group) for index, group in enumerate(groups)]


def test_a_group_counts_once(tmp_path: Path) -> None:
    """Mean and interval are over the groups of the rows, which per_volume tells, and paired.csv how many there are."""
    rows = in_groups("m1", "m2", "m2", "m1", "m1", "m2")
    found = summarise(rows, EVALUATION)["dice_ce"]["dsc"]
    values = [one.measurement.values["dsc"] for one in rows]
    groups = [
        np.mean([value for one, value in zip(rows, values, strict=True) if one.group == name]) for name in ("m1", "m2")
    ]
    assert (found.mean, found.ci_low, found.ci_high) == (pytest.approx(np.mean(groups)), None, None)
    many = [replace(one, group=f"m{index}") for index, one in enumerate(rows)]
    expected = interval_of_mean(np.array(values), EVALUATION.confidence, 0.0, 1.0)
    assert summarise(many, EVALUATION)["dice_ce"]["dsc"] == expected
    both = [*rows, *(replace(one, loss="cbdice") for one in rows)]
    write_outputs(tmp_path, both, summarise(both, EVALUATION), compare_losses(both, EVALUATION))
    table = pyarrow.parquet.read_table(tmp_path / "per_volume.parquet").to_pylist()
    assert [line["group"] for line in table[:6]] == ["m1", "m2", "m2", "m1", "m1", "m2"]
    pairs = list(csv.DictReader((tmp_path / "paired.csv").open()))
    assert {(line["volumes"], line["groups"]) for line in pairs} == {("6", "2")}


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (("m1", "m1", "m2"), "dice_ce: 3 volumes of 2 groups, and only groups are independent"),
        (("m1", "m2", "m3", "m4"), "dice_ce: too few groups for an interval, which needs 5; DSC by group: 0."),
        (("v0", "v1", "v2", "v3", "v4"), None),
    ],
)
def test_the_terminal_says_how_many_groups_there_are(
    capsys: pytest.CaptureFixture[str], groups: tuple[str, ...], text: str | None
) -> None:
    """Where they are fewer than the volumes, and what one of them cannot give."""
    rows = in_groups(*groups)
    print_summary(rows, summarise(rows, EVALUATION), EVALUATION)
    shown = " ".join(capsys.readouterr().out.split())
    assert text in shown if text else "independent" not in shown and "too few" not in shown
