"""A report as one HTML page that needs nothing else: no network, no script, no second file."""

from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.common.text import visible
from stages.report import words
from stages.report.drawing import figures
from stages.report.drawing.charts import legend_key
from stages.report.drawing.reliability import calibration_figures
from stages.report.model import Report
from stages.report.pages.summary import environment_rows, tiles, training_rows
from stages.report.sources.results import data_uri

PAGE = Path(__file__).parent / "templates"
PARTS = (
    ("losses", "Losses"),
    ("held-out", "Held-out volumes"),
    ("differences", "Paired differences"),
    ("folds", "Fold spread"),
    ("calibration", "Calibration"),
    ("learning", "Learning curves"),
    ("overlays", "Pictures"),
    ("volumes", "Volumes"),
    ("registered", "Registered trainings"),
    ("runs", "Trainings and resources"),
    ("repeat", "Repeat it"),
)
PANEL_WORDS = {
    "image": "the image",
    "label": "the image with the label",
    "prediction": "the image with the prediction",
    "error": "where prediction and label agree, where vessel was missed, and where it was predicted in excess",
}


def to_html(report: Report) -> str:
    """The page. Every text of a user is escaped."""
    page = _templates().get_template("report.html.j2")
    folds = words.fold_means(report)
    content = page.render(
        report=report,
        css=(PAGE / "report.css").read_text(encoding="utf-8"),
        parts=[part for part in PARTS if report.held_out or part[0] != "held-out"],
        quote=words.quote_words(report),
        spread=words.spread_words(report),
        panel_words=PANEL_WORDS,
        written=words.moment(report.asked.written),
        confidence_words=words.confidence_words(report),
        with_intervals=lambda found: words.with_intervals(report, chain.from_iterable(one.values() for one in found)),
        tiles=tiles(report),
        cautions=words.cautions(report),
        verdict=words.verdict(report),
        choice=words.choice_words(report),
        labelled=words.labelled_words(report),
        chosen_here=words.CHOSEN_HERE,
        test_words=words.test_words(report),
        best_words=words.best_words(report.lead),
        counts=words.volume_counts(report),
        folds=folds,
        curve_folds=sorted({curve.fold for curve in report.curves}),
        cells=training_rows(report),
        environment=environment_rows(report),
        embedded=bool(report.runs) and report.asked.tracking_place.startswith("sqlite:"),
        figures=_figures(report, folds),
    )
    return content.lstrip()


def _figures(report: Report, folds: dict[str, dict[int, float]]) -> dict[str, list[figures.Figure]]:
    return {
        "intervals": figures.interval_figures(report),
        "differences": figures.difference_figures(report),
        "folds": figures.fold_figure(report, folds),
        "calibration": calibration_figures(report),
        "learning": figures.learning_figures(report),
        "volumes": figures.volume_figures(report),
        "resources": figures.resource_figures(report),
    }


def _shown(value: Any) -> Any:
    """How the page shows `value`: text without hidden characters. Markup is passed on: it was made here."""
    return visible(value, keep="\n\t") if isinstance(value, str) and not hasattr(value, "__html__") else value


def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "exact": lambda value: "" if value is None else repr(float(value)),
        "rounded": words.number,
        "signed": words.signed,
        "p_text": words.p_text,
        "band": words.band_text,
        "outcome": words.outcome,
        "effect": words.effect_text,
        "duration": words.duration,
        "made": words.moment,
        "data_uri": data_uri,
        "loss_key": lambda colour: legend_key(colour),
        "fold_key": lambda fold: legend_key(None, fold),
    }
    templates.filters.update(filters)
    return templates
