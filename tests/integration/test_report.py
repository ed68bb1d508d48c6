"""The report of a real, tiny pipeline: right, complete, and as a real browser lays it out."""

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.clone import TINY, Clone
from tests.support.serving.browser import Browser, open_browser

LAPTOP, PHONE = 1280, 390
LOSSES = ("dice_ce", "cbdice")


class Cells(HTMLParser):
    """The exact values in the table of losses and metrics."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.values: dict[tuple[str, str], list[float]] = {}
        self._cell: tuple[str, str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "td":
            loss, metric = found.get("data-loss"), found.get("data-metric")
            self._cell = (loss, metric) if loss and metric else None
        elif tag == "data" and self._cell:
            self.values.setdefault(self._cell, []).append(float(found["value"] or "nan"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which two losses were trained on one fold, as a named experiment, and reported."""
    clone = Clone(tmp_path_factory.mktemp("report") / "clone")
    # an overlap that evaluates each loss on half as many patches
    clone.set_params({**TINY, "training.losses": "[dice_ce, cbdice]", "evaluation.overlap": "0.25"})
    clone.run("dvc", "exp", "run", "--name", "tiny-one")
    clone.run("capillary", "report")
    return clone


@pytest.fixture(scope="module")
def page(project: Clone) -> Path:
    """Its page, under the experiment's own name."""
    return project.root / "reports" / "tiny-one" / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser") / "profile") as found:
        yield found


def test_numbers_equal_metrics_json(project: Clone, page: Path) -> None:
    """Every mean of the file, and every interval that it has, to the last bit in HTML, rounded alike in Markdown."""
    metrics = project.metrics()
    expected = {
        (loss, metric): [found[end] for end in ("mean", "ci_low", "ci_high") if found[end] is not None]
        for loss, named in metrics.items()
        for metric, found in named.items()
    }
    assert Cells(page.read_text()).values == expected
    lines = page.with_suffix(".md").read_text().replace("\\", "").splitlines()
    for loss in LOSSES:
        dsc = metrics[loss]["dsc"]
        row = next(line for line in lines if line.startswith("| DSC ↑ |"))
        assert f" {dsc['mean']:.3f} " in row


def test_everything_of_the_run_is_there(project: Clone, page: Path) -> None:
    """Volumes, runs, models, commit, params, pictures; and nothing is said to be missing but what is."""
    text = page.read_text()
    for line in (project.root / "metrics" / "per_volume.csv").read_text().splitlines()[1:]:
        assert line.split(",")[2] in text
    for loss in LOSSES:
        assert project.receipt(loss)["run_id"][:8] in text
        assert f"{project.receipt(loss)['name']} v{project.receipt(loss)['version']}" in text
    commit = project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert f"git switch --detach {commit[:12]}" in text
    assert "training.max_epochs=2" in text
    assert "evaluation</th><td>finished" in text
    assert "Left out" not in text
    assert "do not belong to the current files" not in text
    entries = json.loads((project.root / "metrics" / "overlays.json").read_text())
    assert text.count("data:image/png;base64,") == 8 * len(entries)


def test_stage_outputs_are_small_and_repeat_bit_for_bit(project: Clone) -> None:
    """A second evaluation writes the same bytes; no picture is over 150 kB; git sees none of it."""
    folder = project.root / "metrics"
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert all(len(content) < 150_000 for file, content in before.items() if file.suffix == ".png")
    project.run("dvc", "repro", "--force", "--single-item", "evaluate")
    assert before == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    seen = {line[3:] for line in project.run("git", "status", "--porcelain").stdout.splitlines()}
    assert seen <= {"params.yaml", "dvc.lock"}


def test_dvc_shows_the_pictures(project: Clone, tmp_path: Path) -> None:
    """`dvc plots show` renders the declared folder of overlays next to the other plots."""
    project.run("dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    text = (tmp_path / "plots" / "index.html").read_text()
    assert len(re.findall(r"<img[^>]*best_slice_1_image", text)) == 1


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, LAPTOP])
def test_a_browser_lays_it_out(browser: Browser, page: Path, width: int, dark: bool) -> None:
    """No complaint, no request, nothing wider than the screen, every picture shown, in the scheme asked for."""
    seen = browser.look(page, width=width, dark=dark)
    assert seen.complaints == []
    assert seen.foreign == []
    assert seen.layout["overflow"] == 0
    assert seen.layout["outside"] == []
    assert (seen.layout["broken"], seen.layout["withoutAlt"]) == (0, 0)
    assert seen.layout["images"] >= 8
    assert (seen.layout["unnamed"], seen.layout["withoutCaption"]) == (0, 0)
    assert seen.layout["charts"] >= 10
    assert contrast(seen.layout["ink"], seen.layout["background"]) > 7
    assert (luminance(seen.layout["background"]) < 0.2) == dark


def test_the_page_alone_is_enough(browser: Browser, page: Path, tmp_path: Path) -> None:
    """Sent to another folder, it is the same."""
    alone = tmp_path / "sent.html"
    shutil.copy(page, alone)
    assert browser.look(alone, width=LAPTOP, dark=False).layout == browser.look(page, width=LAPTOP, dark=False).layout


def test_without_metrics_the_report_says_so(project: Clone, browser: Browser) -> None:
    """A workspace whose evaluation is gone has a report all the same, with the trainings that are there."""
    metrics = project.root / "metrics"
    for name in ("metrics.json", "per_volume.csv", "paired.csv", "overlays.json"):
        (metrics / name).rename(metrics / f"{name}.away")
    try:
        project.run("capillary", "report", "--name", "half")
    finally:
        for name in ("metrics.json", "per_volume.csv", "paired.csv", "overlays.json"):
            (metrics / f"{name}.away").rename(metrics / name)
    half = project.root / "reports" / "half" / "report.html"
    text = half.read_text()
    assert "metrics/metrics.json is not there" in text
    assert project.receipt()["run_id"][:8] in text
    assert "dvc status reports changes in evaluate" in text
    assert browser.look(half, width=PHONE, dark=True).layout["overflow"] == 0


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` (WCAG 2.2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
