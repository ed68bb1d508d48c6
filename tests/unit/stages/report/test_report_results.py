"""What is read of the files that stages leave: exactly, or not at all."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from stages.common.cell_name import CellName
from stages.common.errors import DataError
from stages.common.metrics import METRICS
from stages.common.runtime import Runtime
from stages.common.tracking.cards.card import card_json
from stages.common.tracking.receipts import Receipt, write_receipt
from stages.report.model import Coverage
from stages.report.sources.results import (
    read_coverage,
    read_curves,
    read_differences,
    read_metrics,
    read_overlays,
    read_trained,
    read_volumes,
)
from tests.support.tracking.cards import CARD
from tests.unit.stages.report.made import tiny_png


def write(file: Path, content: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def test_metrics_are_read_exactly_and_a_null_is_none(tmp_path: Path) -> None:
    """Every bit of the file, and no number where it has none."""
    interval = {"mean": 0.1 + 0.2, "ci_low": None, "ci_high": float("nan")}
    write(tmp_path / "metrics" / "metrics.json", json.dumps({"a": dict.fromkeys(METRICS, interval)}))
    found = read_metrics(tmp_path / "metrics")["a"]["dsc"]
    assert (found.mean, found.ci_low, found.ci_high) == (0.1 + 0.2, None, None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        "{",
        '{"a": 1}',
        '{"a": {"dsc": {}}}',
        '{"a": {"dcs": {"mean": 1, "ci_low": 0, "ci_high": 1}}}',
        b"\xff\xfe",
        "[" * 100_000,
    ],
)
def test_metrics_of_another_form_are_refused_by_name(tmp_path: Path, content: str | bytes) -> None:
    """One error, which names the file and the remedy."""
    write(tmp_path / "metrics" / "metrics.json", content)
    with pytest.raises(DataError, match=r"metrics/metrics\.json"):
        read_metrics(tmp_path / "metrics")


def test_what_a_partial_evaluation_lacks_is_read_beside_its_means(tmp_path: Path) -> None:
    """From the folder of its own; whole results lack nothing."""
    partial = {"missing": [{"loss": "b", "fold": 1}], "volumes": {"a": 2}, "of_volumes": 4}
    means = {"a": {"dsc": {"mean": 0.5, "ci_low": None, "ci_high": None}}}
    folder = Path("metrics/partial")
    write(tmp_path / folder / "metrics.json", json.dumps({"partial": partial, **means}))
    write(tmp_path / "metrics/metrics.json", json.dumps(means))
    assert read_coverage(tmp_path / folder) == Coverage(missing=(CellName("b", 1),), volumes={"a": 2}, of_volumes=4)
    assert read_coverage(tmp_path / "metrics") is None
    assert read_metrics(tmp_path / folder) == read_metrics(tmp_path / "metrics")
    write(tmp_path / folder / "metrics.json", json.dumps({"partial": {"missing": 3}, **means}))
    with pytest.raises(DataError, match="cannot be read"):
        read_coverage(tmp_path / folder)


def test_tables_with_missing_columns_or_words_for_numbers_are_refused(tmp_path: Path) -> None:
    """Not a KeyError in the middle of a report."""
    for reader, name in ((read_volumes, "per_volume.csv"), (read_differences, "paired.csv")):
        with pytest.raises(DataError, match="is not there"):
            reader(tmp_path / "metrics")
        write(tmp_path / "metrics" / name, "loss,id\na,b\n")
        with pytest.raises(DataError, match="cannot be read"):
            reader(tmp_path / "metrics")
    write(tmp_path / "metrics" / "training" / "a" / "fold_0.csv", "epoch,loss,validation_dsc\n1,many,\n")
    with pytest.raises(DataError, match=r"a/fold_0\.csv"):
        read_curves(tmp_path, [CellName("a", 0)])


def test_a_volume_is_of_its_group(tmp_path: Path) -> None:
    """A volume in a table without groups is its own."""
    write(tmp_path / "metrics/per_volume.csv", "loss,fold,id,group,dsc,rule\na,0,v1,m1,0.5,measured\n")
    assert [one.group for one in read_volumes(tmp_path / "metrics")] == ["m1"]
    write(tmp_path / "metrics/per_volume.csv", "loss,fold,id,dsc,rule\na,0,v1,0.5,measured\n")
    assert [one.group for one in read_volumes(tmp_path / "metrics")] == ["v1"]


def test_curves_and_cards_are_those_of_the_cells_of_params_yaml(tmp_path: Path) -> None:
    """In their order; an epoch without a validation has none. A fold or loss that was removed does not count."""
    for fold in (10, 2, 3):
        write(tmp_path / "metrics/training/a" / f"fold_{fold}.csv", "epoch,loss,validation_dsc\n1,0.5,\n2,,0.25\n")
        card = dataclasses.replace(CARD, loss="a", fold=fold, fingerprint=f"f{fold}")
        write(tmp_path / "models/a" / f"fold_{fold}.json", card_json(card))
    write(tmp_path / "models/a/fold_x.json", "{}")
    cells = [CellName("a", 2), CellName("a", 10), CellName("b", 2)]
    curves = read_curves(tmp_path, cells)
    assert [curve.fold for curve in curves] == [2, 10]
    assert (curves[0].training_loss, curves[0].validation_dsc) == ((0.5, None), (None, 0.25))
    runtime = Runtime(tracking_uri="http://h", receipts=tmp_path / "receipts")
    receipt = Receipt(run_id="r", name="capillary-a", version="3", weights_sha256="")
    write_receipt(runtime.receipts, "f10", "http://h", receipt)
    found = [(one.card.fold, one.receipt) for one in read_trained(tmp_path, cells, runtime)]
    assert found == [(2, None), (10, receipt)]
    write(tmp_path / "models/a/fold_10.json", '{"fingerprint": "f", "loss": "a", "fold": 1e999}')
    with pytest.raises(DataError, match=r"lacks|another version"):
        read_trained(tmp_path, cells, runtime)


def test_overlays_must_be_pictures(tmp_path: Path) -> None:
    """A file that is not a PNG file never reaches the page."""
    names = [
        f"best_{view}_{n}_{p}.png" for view in ("slice", "projection") for n, p in enumerate(("image", "error"), 1)
    ]
    entry = {"rank": "best", "loss": "a", "fold": 0, "id": "v", "metric": "dsc", "value": 0.5, "slice_z": 1, "depth": 4}
    whole = {**entry, "sides_um": [10, 20], "pictures": names}
    write(tmp_path / "metrics/overlays.json", json.dumps([whole]))
    for name in names:
        write(tmp_path / "metrics/overlays" / name, tiny_png())
    (found,) = read_overlays(tmp_path / "metrics")
    assert (found.aspect, found.pixels) == (2.0, 1)
    assert [panel.name for panel in found.projection] == ["image", "error"]
    for odd in ({"sides_um": [0, 20]}, {"sides_um": [10, math.inf]}, {"pictures": []}):
        write(tmp_path / "metrics/overlays.json", json.dumps([{**whole, **odd}]))
        with pytest.raises(DataError, match="cannot be read"):
            read_overlays(tmp_path / "metrics")
    for key, value in {"value": "high", "slice_z": None, "metric": "dcs", "fold": [], "rank": 1}.items():
        write(tmp_path / "metrics/overlays.json", json.dumps([{**whole, key: value}]))
        with pytest.raises(
            DataError, match=r"overlays\.json cannot be read"
        ) as caught:  # not by the page, for all parts
            read_overlays(tmp_path / "metrics")
        assert str(caught.value.value).startswith(f"0.{key}: ")
    write(tmp_path / "metrics/overlays.json", json.dumps([whole]))
    write(tmp_path / "metrics/overlays" / names[0], "<svg onload='alert(1)'/>")
    with pytest.raises(DataError) as caught:
        read_overlays(tmp_path / "metrics")
    assert "is not a PNG file" in str(caught.value.value)
