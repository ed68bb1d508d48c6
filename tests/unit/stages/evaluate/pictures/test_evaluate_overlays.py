"""Pictures: what they show, and that they are small and repeat bit for bit."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.evaluate.pictures.overlays import (
    EXCESS_RGB,
    GREYS,
    MISSED_RGB,
    PANELS,
    RIGHT_RGB,
    TINT,
    _panels,
    choose,
    hatched,
    to_png,
    write_overlays,
)
from stages.evaluate.views import (
    EXCESS,
    MAX_SIDE,
    MISSED,
    NOTHING,
    RIGHT,
    fullest_slice,
    most_common,
    take_views,
)
from tests.unit.stages.evaluate.made import interval, row

LARGEST_BYTES = 150_000


def test_the_slice_is_the_one_with_most_label() -> None:
    """The first of equals; of the prediction where the label is empty; the middle where both are."""
    label = np.zeros((5, 4, 4), dtype=np.bool_)
    label[1, :2] = label[3, :2] = True
    prediction = np.zeros_like(label)
    prediction[4] = True
    image = np.zeros(label.shape, dtype=np.float32)
    nothing = np.zeros_like(label)
    assert take_views(image, label, prediction, (1, 1, 1)).slice_z == 1
    assert take_views(image, nothing, prediction, (1, 1, 1)).slice_z == 4
    assert take_views(image, nothing, nothing, (1, 1, 1)).slice_z == 2
    assert fullest_slice(nothing[:1]) == 0


def test_masks_and_errors_of_a_slice_are_the_volume_s() -> None:
    """Label only is missed, prediction only is in excess, both are right."""
    rng = np.random.default_rng(0)
    label, prediction = rng.random((2, 3, 9, 7)) < 0.4
    views = take_views(rng.random(label.shape, dtype=np.float32), label, prediction, (1, 1, 1))
    z = views.slice_z
    np.testing.assert_array_equal(views.slice.label, label[z])
    np.testing.assert_array_equal(views.slice.prediction, prediction[z])
    np.testing.assert_array_equal(views.slice.error == MISSED, label[z] & ~prediction[z])
    np.testing.assert_array_equal(views.slice.error == EXCESS, ~label[z] & prediction[z])
    np.testing.assert_array_equal(views.slice.error == RIGHT, label[z] & prediction[z])
    np.testing.assert_array_equal(views.projection.label, label.max(axis=0))


def test_a_projected_error_is_the_commonest_by_a_loop() -> None:
    """Along z the code of most foreground voxels; ties go to an error, and of errors to the missed one."""
    codes = np.random.default_rng(1).integers(0, 4, size=(6, 8, 8)).astype(np.uint8)
    codes[:, 0, 0] = NOTHING
    found = most_common(codes)
    for y, x in np.ndindex(8, 8):
        column = [code for code in codes[:, y, x] if code != NOTHING]
        expected = max((MISSED, EXCESS, RIGHT), key=column.count) if column else NOTHING
        assert found[y, x] == expected


def test_large_volumes_are_thinned_and_stay_small() -> None:
    """No side is over the limit, and even pure noise is below 150 kB a picture."""
    rng = np.random.default_rng(2)
    image = rng.random((2, 1300, 700), dtype=np.float32)
    label, prediction = rng.random((2, *image.shape)) < 0.5
    views = take_views(image, label, prediction, (5.0, 0.5, 0.5))
    assert views.slice.grey.shape == (325, 175)
    assert views.sides_um == (650.0, 350.0)
    worst = rng.integers(0, 256, size=(MAX_SIDE, MAX_SIDE)).astype(np.uint8)
    assert len(to_png(worst, rng.integers(0, 4, size=worst.shape).astype(np.uint8))) < LARGEST_BYTES * 1.1
    for view in (views.slice, views.projection):
        assert len(to_png(view.grey, view.error)) < LARGEST_BYTES


def test_each_panel_tints_what_its_name_says() -> None:
    """The plain image, the label, the prediction, and where they differ."""
    view = row("dice_ce", 0, 0.5).views.slice
    tints = dict(_panels(view))
    assert list(tints) == ["image", "label", "prediction", "error"]
    assert not tints["image"].any()
    np.testing.assert_array_equal(tints["label"] > 0, view.label)
    np.testing.assert_array_equal(tints["prediction"] > 0, view.prediction)
    np.testing.assert_array_equal(tints["error"], view.error)


def test_a_picture_shows_grey_and_the_tint_over_it() -> None:
    """Decoded by Pillow: plain pixels are grey, tinted ones the blend of colour and grey."""
    grey = np.array([[0, 255, 0, 255], [0, 255, 0, 255]], dtype=np.uint8)
    tints = np.array([[0, 0, MISSED, MISSED], [EXCESS, EXCESS, RIGHT, RIGHT]], dtype=np.uint8)
    shown = np.array(Image.open(io.BytesIO(to_png(grey, tints))).convert("RGB"), dtype=float)
    assert shown[0, 0].tolist() == [0, 0, 0]
    assert shown[0, 1].tolist() == [255, 255, 255]
    for y, x, colour, level in (
        (0, 2, MISSED_RGB, 0),
        (0, 3, MISSED_RGB, 255),
        (1, 1, EXCESS_RGB, 255),
        (1, 2, RIGHT_RGB, 0),
    ):
        np.testing.assert_allclose(shown[y, x], TINT * np.array(colour) + (1 - TINT) * level, atol=0.51)
    assert GREYS * 4 == 256


@pytest.mark.parametrize(
    ("dscs", "expected"),
    [
        ([0.5], {"best": "v0"}),
        ([0.5, 0.6], {"best": "v1", "worst": "v0"}),
        ([0.5, 0.9, 0.7], {"best": "v1", "median": "v2", "worst": "v0"}),
        ([0.5, 0.9, 0.7, 0.6], {"best": "v1", "median": "v3", "worst": "v0"}),
        ([0.5, 0.5, 0.5], {"best": "v0", "median": "v2", "worst": "v1"}),  # equals: by fold, then id
    ],
)
def test_best_median_and_worst_of_the_best_loss(dscs: list[float], expected: dict[str, str]) -> None:
    """By the first metric, each volume once; the loss with the best mean, the first of equals."""
    rows = [
        row(loss, index, dsc * share) for loss, share in (("low", 0.9), ("high", 1)) for index, dsc in enumerate(dscs)
    ]
    summary = {loss: {"dsc": interval(mean)} for loss, mean in (("low", 0.4), ("high", 0.5))}
    found = choose(rows, summary)
    assert {choice.rank: choice.row.id for choice in found} == expected
    assert {choice.row.loss for choice in found} == {"high"}
    equal = {loss: {"dsc": interval(0.5)} for loss in ("low", "high")}
    assert choose(rows, equal)[0].row.loss == "low"


def test_the_index_names_every_picture_and_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    """How long a volume took is in no file; every file is in the index, and a PNG of the size of its view."""
    rows = [row("a", index, 0.5 + index / 10) for index in range(3)]
    summary = {"a": {"dsc": interval(0.5)}}
    for name, seconds in (("one", 1.0), ("two", 9.0)):
        write_overlays(tmp_path / name, choose([replace(each, seconds=seconds) for each in rows], summary))
    files = {file.relative_to(tmp_path / "one") for file in (tmp_path / "one").rglob("*.*")}
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    entries = json.loads((tmp_path / "one" / "overlays.json").read_text())
    assert [entry["rank"] for entry in entries] == ["best", "median", "worst"]
    named = {Path("overlays") / name for entry in entries for name in entry["pictures"]}
    assert files == {*named, Path("overlays.json")}
    assert len(named) == 3 * 2 * len(PANELS)
    assert entries[0]["sides_um"] == [12.0, 20.0]
    with Image.open(tmp_path / "one" / "overlays" / "best_slice_1_image.png") as picture:
        assert picture.size == (10, 12)


def test_what_nobody_labelled_is_hatched_and_shows_no_error() -> None:
    """Lines on every panel but the image; the rest of a picture stays as it is."""
    label, image = np.ones((2, 16, 16), np.bool_), np.zeros((2, 16, 16), np.float32)
    labelled = np.zeros_like(label)
    labelled[:, :, :8] = True
    view = take_views(image, label, ~label, (1, 1, 1), labelled).slice
    assert view.error[:, :8].all()
    assert not view.error[:, 8:].any()
    assert view.unlabelled is not None
    lined = hatched(view.grey, view.unlabelled)
    np.testing.assert_array_equal(lined[:, :8], view.grey[:, :8])
    assert (lined[:, 8:] == 255).sum() == 16
