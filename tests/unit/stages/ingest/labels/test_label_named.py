"""Labels of nnU-Net sets, whose dataset.json says what each value is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.labels.rule import LabelMeaning, parse_rule
from stages.ingest.checks import check_label
from stages.ingest.ingest import ingest
from stages.ingest.params import Ingest
from tests.unit.stages.ingest.made import SHAPE_ZYX, image_zyx, label_zyx, row, save_tiff, write_table

VESSEL = label_zyx() // 255
IGNORED = {"background": (0,), "vessel": (1,), "Ignore": (2,)}
CLASSES = {"background": (0,), "artery": (1,), "bone": (2,)}


def check(folder: Path, label: NDArray[Any], rule: object, ignored: int | None, named: dict[str, Any]) -> float:
    """The share of vessel that the check finds."""
    file = folder / "label.tif"
    tifffile.imwrite(file, label, photometric="minisblack")
    return check_label(
        file, SHAPE_ZYX, LabelMeaning(rule=parse_rule(rule), ignore_value=ignored), named
    ).foreground_share


@pytest.mark.parametrize("rule", ["binary", "foreground", {"at_least": 1}, {"values": [1]}])
@pytest.mark.parametrize("label", [VESSEL * 2, VESSEL + 1], ids=["0 and ignore", "vessel and ignore"])
def test_a_value_called_ignore_is_never_taken_for_a_label(tmp_path: Path, rule: object, label: NDArray[Any]) -> None:
    """Of two values it is the larger one: without the setting it would be vessel."""
    with pytest.raises(DataError, match=r"it holds 2, which dataset\.json calls ignore; set ingest\.ignore_value: 2"):
        check(tmp_path, label, rule, None, IGNORED)


def test_the_settings_have_the_last_word_on_a_value_called_ignore(tmp_path: Path) -> None:
    """Named as ignored or as vessel, and where no label holds it."""
    partial = VESSEL.copy()
    partial[3] = 2
    assert check(tmp_path, partial, "binary", 2, IGNORED) == pytest.approx(VESSEL[:3].mean())
    assert check(tmp_path, VESSEL * 2, {"values": [2]}, None, IGNORED) == VESSEL.mean()
    assert check(tmp_path, VESSEL, "binary", None, IGNORED) == VESSEL.mean()


def test_of_several_classes_none_is_vessel_because_it_is_the_larger_number(tmp_path: Path) -> None:
    """A volume that happens to hold one class alone is refused as are those with all of them."""
    for label in (VESSEL, VESSEL * 2):
        with pytest.raises(DataError, match=r"several classes \(artery = 1, bone = 2\); name those of vessels"):
            check(tmp_path, label, "binary", None, CLASSES)
    assert check(tmp_path, VESSEL, {"values": [1]}, None, CLASSES) == VESSEL.mean()
    assert check(tmp_path, VESSEL * 2, "foreground", None, CLASSES) == VESSEL.mean()


@pytest.mark.parametrize("rule", ["binary", "foreground"])
def test_what_is_called_background_is_no_vessel(tmp_path: Path, rule: str) -> None:
    """Where it has the larger number: the mask was taken inverted."""
    named = {"Background": (1,), "vessel": (0,)}
    with pytest.raises(DataError, match=r"takes 1 as vessel.* calls background; set ingest\.label: \{values: \[0\]\}"):
        check(tmp_path, 1 - VESSEL, rule, None, named)
    assert check(tmp_path, 1 - VESSEL, {"values": [0]}, None, named) == VESSEL.mean()
    assert check(tmp_path, VESSEL + 1, "binary", None, {"background": (1,), "vessel": (2,)}) == VESSEL.mean()


@pytest.mark.parametrize("has_table", [False, True])
def test_ingest_reads_what_dataset_json_calls_ignore(tmp_path: Path, has_table: bool) -> None:
    """The whole stage on a folder in nnU-Net's layout, and with a table of it, as `capillary dataset init` writes."""
    source = tmp_path / "source"
    for folder in ("imagesTr", "labelsTr"):
        (source / folder).mkdir(parents=True)
    (source / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "vessel": 1, "ignore": 2}}))
    how = {"imagej": True, "resolution": (2.0, 2.0), "metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "um"}}
    save_tiff(source / "imagesTr/a_0000.tif", image_zyx(1), **how)
    save_tiff(source / "labelsTr/a.tif", np.where(VESSEL == 1, 2, 0).astype(np.uint8))
    if has_table:
        write_table(source, [row("a", image="imagesTr/a_0000.tif", label="labelsTr/a.tif")])
    rule: Any = "binary"
    params = {"source": str(source), "on_invalid": "fail", "label_geometry": "world", "label": rule, "channel": None}
    with pytest.raises(DataError, match=r"which dataset\.json calls ignore"):
        ingest(Ingest(**params, ignore_value=None, level_um=None), raw=tmp_path / "raw")
