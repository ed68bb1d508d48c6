"""What ingest.label and ingest.ignore_value make of the values in a label."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from stages.common.errors import DataError, ParamsError
from stages.common.imaging.labels.meaning import interpret, read_meaning, write_meaning
from stages.common.imaging.labels.rule import BINARY, LabelMeaning, parse_rule
from stages.common.params import validate_params
from stages.ingest.checks import check_label
from stages.ingest.params import IngestParams
from tests.unit.stages.ingest.made import SHAPE_ZYX, label_zyx, save_tiff

TRUTH = label_zyx() > 0


def instances() -> NDArray[np.uint16]:
    """Two vessels, numbered 1 and 7."""
    label = TRUTH.astype(np.uint16)
    label[:, 10:] *= 7
    return label


def grey() -> NDArray[np.uint8]:
    """0..255 with the edges that interpolation leaves."""
    return np.rint(255 * gaussian_filter(TRUTH.astype(float), (0, 1, 1))).astype(np.uint8)


def slanted() -> NDArray[np.bool_]:
    """A vessel of two voxels across the slices."""
    return np.stack([np.eye(24, 20, at, dtype=np.bool_) | np.eye(24, 20, at + 1, dtype=np.bool_) for at in range(4)])


def jpeg(quality: int) -> NDArray[np.uint8]:
    """`slanted` as slices in JPEG keep it."""
    slices = []
    for plane in slanted():
        file = io.BytesIO()
        Image.fromarray(plane.astype(np.uint8) * 255).save(file, "JPEG", quality=quality)
        slices.append(np.asarray(Image.open(file)))
    return np.stack(slices)


def every_other(ignored: int) -> NDArray[np.uint16]:
    """0 and 1, with every other slice not labelled."""
    label = slanted().astype(np.uint16)
    label[::2] = ignored
    return label


def partly(label: NDArray[Any], ignored: float = 9) -> NDArray[Any]:
    """`label` with its first slice and a corner not labelled."""
    label = label.copy()
    label[0], label[2, :9, :7] = ignored, ignored
    return label


def meaning(label: object = "binary", ignore_value: float | None = None) -> LabelMeaning:
    """As params.yaml says it."""
    given = {"source": "a", "on_invalid": "fail", "label_geometry": "world", "channel": None, "level_um": None}
    params = validate_params(
        IngestParams, {"ingest": given | {"label": label, "ignore_value": ignore_value}}, "params.yaml"
    )
    return params.ingest.meaning


@pytest.mark.parametrize(
    ("label", "rule", "truth"),
    [
        (TRUTH * np.uint8(255), "binary", TRUTH),
        (TRUTH, "binary", TRUTH),
        (TRUTH.astype(np.float32), "foreground", TRUTH),
        (instances(), "foreground", TRUTH),
        (instances(), {"values": [1, 7]}, TRUTH),
        (instances(), {"values": [7]}, instances() == 7),
        (instances(), {"values": [7, 70_000, 0.5]}, instances() == 7),
        (TRUTH * np.float32(0.1), {"values": [0.1]}, TRUTH),
        (-TRUTH.astype(np.int8), {"values": [-1]}, TRUTH),
        (TRUTH.astype(np.uint8), {"values": [0]}, ~TRUTH),
        (grey(), {"at_least": 128}, grey() >= 128),
        (grey() / 255, {"at_least": 0.5}, grey() / 255 >= 0.5),
    ],
)
def test_each_rule_takes_the_values_it_names_as_vessel(label: NDArray[Any], rule: object, truth: NDArray[Any]) -> None:
    """And every voxel is labelled where no value says otherwise."""
    read = interpret(label, meaning(rule))
    np.testing.assert_array_equal(read.vessel, truth)
    assert read.labelled is None
    assert (read.vessel.dtype, read.labelled_share) == (np.uint8, 1)


@pytest.mark.parametrize("rule", ["binary", "foreground", {"values": [1]}, {"at_least": 1}])
def test_ignored_voxels_are_neither_vessel_nor_labelled(rule: object) -> None:
    """Whatever the rule makes of their value; the foreground's share is of the labelled voxels."""
    read = interpret(partly(TRUTH.astype(np.uint8)), meaning(rule, 9))
    known = partly(TRUTH.astype(np.uint8)) != 9
    np.testing.assert_array_equal(read.labelled, known)
    np.testing.assert_array_equal(read.vessel, TRUTH & known)
    assert read.foreground_share == (TRUTH & known).sum() / known.sum()
    assert read.labelled_share == known.mean()


def test_label_whose_zero_is_unlabelled(tmp_path: Path) -> None:
    """As scribbles are stored: 0 nobody looked, 1 background, 2 vessel."""
    save_tiff(tmp_path / "label.tif", partly(TRUTH + np.uint8(1), 0))
    facts = check_label(tmp_path / "label.tif", SHAPE_ZYX, meaning("binary", 0))
    assert facts.foreground_value == 2
    assert 0 < facts.labelled_share < 1


@pytest.mark.parametrize(
    ("dtype", "ignored"),
    [
        ("uint64", 2**64 - 1),
        ("uint64", 2**64 - 2),
        ("int64", -(2**63)),
        ("uint64", 2**53 + 1),
        ("float64", 1e30),
        ("float32", -0.5),
    ],
)
def test_an_ignored_value_keeps_all_of_its_digits(tmp_path: Path, dtype: str, ignored: float) -> None:
    """Also where no float holds it, and in the file that goes with the raw data."""
    means = meaning("binary", ignored)
    write_meaning(tmp_path, means)
    assert read_meaning(tmp_path) == means
    read = interpret(partly(TRUTH.astype(dtype), ignored), read_meaning(tmp_path))
    np.testing.assert_array_equal(read.labelled, partly(TRUTH.astype(np.uint8)) != 9)


@pytest.mark.parametrize(("ignored", "is_doubtful"), [(255, True), (2, False), (99, True)])
def test_a_lone_value_among_instances_is_said_to_be_vessel(tmp_path: Path, ignored: int, is_doubtful: bool) -> None:
    """Every voxel of slices that nobody labelled would count as vessel, without a word."""
    label = np.where(TRUTH, 1, 0).astype(np.uint16)
    label[0] = ignored
    save_tiff(tmp_path / "label.tif", label)
    facts = check_label(tmp_path / "label.tif", SHAPE_ZYX, meaning("foreground"))
    said = f"{ignored} is taken as vessel; set ingest.ignore_value: {ignored} if nobody labelled its voxels"
    assert (said in facts.warnings) == is_doubtful
    assert not check_label(tmp_path / "label.tif", SHAPE_ZYX, meaning("foreground", ignored)).warnings


def test_the_value_of_vessels_keeps_all_of_its_digits(tmp_path: Path) -> None:
    """No float holds it."""
    save_tiff(tmp_path / "label.tif", TRUTH * np.uint64(2**64 - 1))
    assert check_label(tmp_path / "label.tif", SHAPE_ZYX).foreground_value == 2**64 - 1


@pytest.mark.parametrize("ignored", [-1, 256, 2**64 - 1, 0.5])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint64", "int8"])
def test_a_value_that_a_label_cannot_hold_ignores_nothing(tmp_path: Path, dtype: str, ignored: float) -> None:
    """Negative or too large for its type: every voxel is labelled, and the value is not among those found."""
    save_tiff(tmp_path / "label.tif", TRUTH.astype(dtype))
    facts = check_label(tmp_path / "label.tif", SHAPE_ZYX, meaning("binary", ignored))
    assert (facts.labelled_share, facts.foreground_share, facts.occurring) == (1, TRUTH.mean(), frozenset())


@pytest.mark.parametrize(
    ("label", "means", "says"),
    [
        (instances(), BINARY, r"holds 3 values \(0, 1, 7\).* foreground \(instances\), \{values"),
        (partly(instances()), meaning("binary", 9), r"holds 3 values \(0, 1, 7\)"),
        (grey(), BINARY, r"grey edges: .*\{at_least: 120\} for half of 239"),
        (grey(), meaning("foreground"), r"grey edges; .*\{at_least: 120\}"),
        (grey() / np.float32(255), BINARY, r"grey edges.*\{at_least: 0\.46"),
        (-TRUTH.astype(np.int8), BINARY, r"its values are -1 and 0; .*\{values: \[-1\]\}"),
        (np.where(TRUTH, 1, -1).astype(np.int8), meaning("foreground"), "go down to -1"),
        (TRUTH.astype(np.uint8), meaning({"values": [5]}), "no labelled voxel is vessel"),
        (TRUTH.astype(np.uint8), meaning({"values": [0, 1]}), "every labelled voxel is vessel"),
        (np.full(SHAPE_ZYX, 9, np.uint8), meaning("binary", 9), "no voxel is labelled: all are 9"),
        (TRUTH.astype(np.uint8), meaning("binary", 0), "labelled voxels all have the value 1"),
    ],
)
def test_label_that_does_not_fit_is_refused_with_what_fits(
    tmp_path: Path, label: NDArray[Any], means: LabelMeaning, says: str
) -> None:
    """The reason names the values and the setting."""
    save_tiff(tmp_path / "label.tif", label)
    with pytest.raises(DataError, match=says):
        check_label(tmp_path / "label.tif", SHAPE_ZYX, means)


@pytest.mark.parametrize("quality", [90, 95, 98])
@pytest.mark.parametrize("rule", ["binary", "foreground"])
def test_label_that_jpeg_has_touched_is_refused_as_grey(tmp_path: Path, quality: int, rule: str) -> None:
    """Of high quality, too: its ripples of 1 and 2 around a vessel would count as vessel."""
    label = jpeg(quality)
    assert (label > 0).sum() > 1.2 * slanted().sum()
    save_tiff(tmp_path / "label.tif", label)
    with pytest.raises(DataError, match=r"grey edges.*\{at_least: 128\} for half of 255"):
        check_label(tmp_path / "label.tif", SHAPE_ZYX, meaning(rule))


@pytest.mark.parametrize("ignored", [255, 65535])
@pytest.mark.parametrize("rule", ["binary", "foreground"])
def test_value_that_may_mean_not_labelled_is_asked_for(tmp_path: Path, ignored: int, rule: str) -> None:
    """Half of 255 would make vessels of all that nobody labelled."""
    save_tiff(tmp_path / "label.tif", every_other(ignored))
    with pytest.raises(DataError, match=f"set ingest.ignore_value: {ignored} if nobody") as refused:
        check_label(tmp_path / "label.tif", SHAPE_ZYX, meaning(rule))
    assert "at_least" not in refused.value.what


@pytest.mark.parametrize("numbers", [(1, 2), (3, 40), (5000, 61), (200, 254)])
def test_single_line_of_voxels_may_have_a_number(tmp_path: Path, numbers: tuple[int, int]) -> None:
    """Its voxels touch at corners alone, and a number is close to no other."""
    label = np.zeros(SHAPE_ZYX, np.uint16)
    for number, first in zip(numbers, (0, 12), strict=True):
        label[[0, 1, 2, 3], [first, first + 1, first + 2, first + 3], [4, 5, 6, 7]] = number
    save_tiff(tmp_path / "label.tif", label)
    assert check_label(tmp_path / "label.tif", SHAPE_ZYX, meaning("foreground")).foreground_share == 8 / label.size


def test_touching_instances_are_no_grey_edges(tmp_path: Path) -> None:
    """Each vessel in its own number, side by side."""
    save_tiff(tmp_path / "label.tif", instances())
    facts = check_label(tmp_path / "label.tif", SHAPE_ZYX, meaning("foreground"))
    assert facts.foreground_value is None
    assert facts.foreground_share == pytest.approx(TRUTH.mean())


@pytest.mark.parametrize("rule", ["binary", "foreground", {"values": [1, 2.5]}, {"at_least": 128}])
def test_a_rule_survives_its_file_form(rule: object) -> None:
    """What data/raw/labels.json holds is what params.yaml said."""
    assert parse_rule(parse_rule(rule).as_json()) == parse_rule(rule)


@pytest.mark.parametrize(
    ("label", "ignore_value", "says"),
    [
        ("instances", None, "is not one of binary, foreground"),
        ({"value": [1]}, None, "is not one of binary, foreground"),
        ({"values": []}, None, "is not one of"),
        ({"values": 1}, None, "is not one of"),
        ({"values": [1, 1]}, None, "occurs twice"),
        ({"values": [True]}, None, "not a finite number"),
        ({"values": ["a"]}, None, "not a finite number"),
        ({"at_least": [1]}, None, "not a finite number"),
        ({"at_least": 10**400}, None, "more than 64 bits"),
        ({"values": [1], "at_least": 2}, None, "is not one of"),
        (None, None, "is not one of"),
        ({"values": [1, 2]}, 2, "as vessel, and ignore_value as not labelled"),
        ("binary", "none", "ignore_value"),
        ("binary", 2**64, "no label holds an integer of more than 64 bits"),
        ({"values": [2**64 - 1]}, 2**64 - 1, "18446744073709551615 as vessel"),
    ],
)
def test_settings_that_mean_nothing_are_refused(label: object, ignore_value: Any, says: str) -> None:
    """With the section and what may be written."""
    with pytest.raises(ParamsError) as refused:
        meaning(label, ignore_value)
    assert says in refused.value.report()
    assert "[ingest" in refused.value.report()
