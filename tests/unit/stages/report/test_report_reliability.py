"""The reliability plot and its numbers, from evaluate's own file to the page."""

from pathlib import Path

import numpy as np
import pytest

from stages.common.errors import DataError
from stages.evaluate.statistics.calibration import Reliability, VolumeCalibration, pooled_by_loss, write_calibration
from stages.report.drawing.reliability import calibration_figures
from stages.report.pages.html import to_html
from stages.report.pages.markdown import to_markdown
from stages.report.sources.results import read_calibration
from tests.unit.stages.report import drawn
from tests.unit.stages.report.made import LOSSES, made_report


def test_what_evaluate_writes_is_read(tmp_path: Path) -> None:
    """The file of the stage, line by line; its errors are those that the stage computed."""
    rng = np.random.default_rng(0)
    probability = rng.random((3, 20, 20), dtype=np.float32)
    volumes = [
        VolumeCalibration(loss=loss, fold=0, id="a", reliability=Reliability.of(probability, probability > level))
        for loss, level in (("dice_ce", 0.5), ("cbdice", 0.2))
    ]
    write_calibration(tmp_path / "metrics", volumes)
    found = read_calibration(tmp_path / "metrics")
    assert sum(one.voxels for one in found if one.loss == "dice_ce") == probability.size
    errors = {one.loss: one.calibration_error for one in found}
    assert errors == {loss: one.error for loss, one in pooled_by_loss(volumes).items()}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(DataError, match=r"metrics/calibration\.csv is not there"):
        read_calibration(tmp_path / "metrics")


def test_each_loss_has_a_line_below_the_diagonal() -> None:
    """Half as much vessel as predicted: each point of a loss lies halfway below the diagonal's height there."""
    report = made_report()
    (figure,) = calibration_figures(report)
    chart = drawn.parse(figure.svg)
    titles = [drawn.labels(group)[0] for group in drawn.of_kind(chart, "line")]
    points = {title: pieces[0] for title, pieces in zip(titles, drawn.lines(chart), strict=True)}
    assert set(points) == {"calibrated", *LOSSES}
    (left, bottom), (right, top) = points["calibrated"]
    for loss in LOSSES:
        for (x, y), share in zip(points[loss], (0.125, 0.5, 0.875), strict=True):
            assert (x - left) / (right - left) == pytest.approx(share, abs=0.01)
            assert (y - bottom) / (top - bottom) == pytest.approx(share / 2, abs=0.01)


def test_the_pages_tell_the_error() -> None:
    """In HTML and in Markdown; nothing is drawn if there is nothing."""
    report = made_report()
    assert to_html(report).split('id="calibration"')[1].count('<data value="0.0625">') == len(LOSSES)
    assert f"| {LOSSES[0]} | 0.0625 |".replace("_", r"\_") in to_markdown(report)
    assert calibration_figures(made_report(calibration=())) == []
