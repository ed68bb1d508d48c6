"""The page and its Markdown: right numbers, nothing made up, nothing of a user's text taken for markup."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from stages.common.metrics import METRICS
from stages.common.requests.report import CellFact, ReportPart, RunFacts
from stages.common.statistics.results import Interval
from stages.report.pages.html import to_html
from stages.report.pages.markdown import plain, table, to_markdown
from tests.unit.stages.report.made import LOSSES, MEANS, made_report

HOSTILE = "<script>alert('x')</script> | `a` [b](javascript:c) \"q\" & <img src=x onerror=y>"


class Page(HTMLParser):
    """Tags, attributes and the exact values of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: dict[tuple[str, str], list[float]] = {}
        self._cell: tuple[str, str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "td":
            loss, metric = found.get("data-loss"), found.get("data-metric")
            self._cell = (loss, metric) if loss and metric else None
        if tag == "data" and self._cell:
            self.cells.setdefault(self._cell, []).append(float(found["value"] or "nan"))


def test_the_table_holds_every_number_exactly() -> None:
    """Interval and both ends of every loss and metric, to the last bit, and rounded for show."""
    report = made_report()
    page = to_html(report)
    expected = {
        (loss, metric): [found.mean, found.ci_low, found.ci_high]
        for loss, metrics in report.metrics.items()
        for metric, found in metrics.items()
    }
    assert Page(page).cells == expected
    for text in (page, to_markdown(report)):
        assert f"{MEANS['cbdice']:.3f}" in text
        assert f"{MEANS['dice_ce']:.2f}" in text


def test_the_page_needs_nothing_else() -> None:
    """No script, no link to a style or font, no picture from elsewhere; a policy forbids them, too."""
    page = to_html(made_report())
    tags = Page(page).tags
    assert not [tag for tag, _ in tags if tag in {"script", "iframe", "object", "embed", "base"}]
    sources = [found.get("src") or "" for tag, found in tags if tag == "img"]
    assert len(sources) == 24
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert [found["href"] for tag, found in tags if tag == "link"] == ["data:,"]
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_pictures_charts_and_tables_say_what_they_are() -> None:
    """Alternative texts, names of charts, captions of tables, a language, a heading."""
    page = to_html(made_report())
    tags = Page(page).tags
    assert all(found.get("alt") for tag, found in tags if tag == "img")
    assert all(found.get("aria-label") for tag, found in tags if tag == "svg" and found.get("class") == "chart")
    count = [tag for tag, _ in tags].count
    assert count("table") == count("caption") == 10
    assert ("html", {"lang": "en"}) in tags
    assert count("h1") == 1


def test_links_to_runs_and_the_command_are_there() -> None:
    """Each training leads to its run; the lines to repeat it are in both files."""
    report = made_report()
    for text in (to_html(report), to_markdown(report)):
        assert "https://mlflow.example.org/" in text
        assert "git switch --detach 0123456789ab\n" in text
        assert "./just experiment --config a.yaml\n" in text


def test_hostile_names_and_texts_are_shown_not_run() -> None:
    """An experiment, a description, a loss, a volume, a param and a reason may be called anything."""
    report = made_report(
        name=HOSTILE,
        facts=RunFacts(
            description=HOSTILE,
            command=HOSTILE,
            environment={HOSTILE: HOSTILE},
            cells=(CellFact(loss="dice_ce", fold=0, status="failed", reason=HOSTILE),),
        ),
        volumes=tuple(dataclasses.replace(one, id=HOSTILE) for one in made_report().volumes),
        overlays=tuple(dataclasses.replace(one, id=HOSTILE) for one in made_report().overlays),
        environment=((HOSTILE, HOSTILE),),
        notes={ReportPart.CURVES: HOSTILE},
    )
    page, text = to_html(report), to_markdown(report)
    tags = Page(page).tags
    assert not [tag for tag, _ in tags if tag == "script"]
    assert not [found for _, found in tags if "onerror" in found]
    assert all((found.get("src") or "data:").startswith("data:") for _, found in tags)
    assert "<" not in re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"(?<!\\)\]\(", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", "a\\|b"),
        ("two\nlines", "two lines"),
        ("snake_case", "snake\\_case"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("back\\slash`", "back\\\\slash\\`"),
    ],
)
def test_markdown_text_is_plain(text: str, expected: str) -> None:
    """Nothing in a text is markup."""
    assert plain(text) == expected


def test_a_markdown_table_has_one_line_a_row() -> None:
    """Head, rule, rows; each with the same number of cells."""
    lines = list(table(("a", "b"), [("1|2", "x\ny"), ("3", "4")]))
    assert lines == ["", "| a | b |", "|---|---|", "| 1\\|2 | x y |", "| 3 | 4 |"]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines[1:]} == {3}


@pytest.mark.parametrize(
    ("part", "empty"),
    [
        (ReportPart.METRICS, {"metrics": {}}),
        (ReportPart.PAIRED, {"differences": ()}),
        (ReportPart.VOLUMES, {"volumes": ()}),
        (ReportPart.CURVES, {"curves": ()}),
        (ReportPart.OVERLAYS, {"overlays": ()}),
        (ReportPart.RUNS, {"runs": (), "trained": ()}),
        (ReportPart.RESOURCES, {"runs": ()}),
        (ReportPart.GIT, {"repository": None}),
    ],
)
def test_what_is_missing_is_left_out_with_a_reason(part: ReportPart, empty: dict[str, object]) -> None:
    """Each part alone may be missing: the page is written, and says why."""
    report = made_report(**empty, notes={part: "Left out, because the moon was full."})
    assert "because the moon was full" in to_html(report)
    to_markdown(report)


def test_nothing_at_all_is_still_a_page() -> None:
    """An experiment whose every training failed has a report, with what is known of the failures."""
    cells = tuple(CellFact(loss=loss, fold=0, status="failed", reason="out of memory") for loss in LOSSES)
    report = made_report(
        metrics={}, differences=(), volumes=(), curves=(), trained=(), overlays=(), runs=(), repository=None,
        facts=RunFacts(cells=cells), notes=dict.fromkeys(ReportPart, "Left out, because it failed."),
    )  # fmt: skip
    for text in (to_html(report), to_markdown(report)):
        assert "No loss was evaluated." in text
        assert "out of memory" in text


def test_a_metric_without_a_number_is_a_dash() -> None:
    """null in metrics.json is shown as missing, and no loss is best by it."""
    nothing = Interval(mean=None, ci_low=None, ci_high=None)
    report = made_report(metrics={"dice_ce": dict.fromkeys(METRICS, nothing)}, differences=())
    assert report.best is None
    assert "| DSC ↑ | – |" in to_markdown(report)
    to_html(report)


@pytest.mark.parametrize("chosen", [("betti_0_error",), ("hd95_um", "dsc")])
def test_any_choice_of_metrics_has_a_page(chosen: tuple[str, ...]) -> None:
    """Columns, charts and the best loss follow what was measured; nothing asks for a metric that was not."""
    whole = made_report()
    report = made_report(
        metrics={loss: {name: found[name] for name in chosen} for loss, found in whole.metrics.items()},
        differences=tuple(one for one in whole.differences if one.metric in chosen),
        volumes=tuple(
            dataclasses.replace(one, values={name: one.values[name] for name in chosen}) for one in whole.volumes
        ),
        overlays=tuple(dataclasses.replace(one, metric=chosen[0]) for one in whole.overlays),
    )
    page, text = to_html(report), to_markdown(report)
    assert {metric for _, metric in Page(page).cells} == set(chosen)
    for name, metric in METRICS.items():
        assert (f"| {metric.within(2.0).title} {metric.arrow} |" in text.replace("\\", "")) == (name in chosen)
    assert f"by mean {METRICS[chosen[0]].title}" in page
    assert report.best == "dice_ce"


def test_both_pages_say_which_data_chose_the_networks_and_which_interval_it_is() -> None:
    """What makes a mean optimistic stands next to the mean."""
    report = made_report()
    for text in (to_html(report), to_markdown(report)):
        assert "no volume reported here chose its own network" in text
        assert "95 % interval" in text


def test_both_pages_say_what_a_choice_and_a_test_are_worth() -> None:
    """The best loss was chosen on these volumes, one metric is tested, and four groups can show little."""
    for text in (to_html(made_report()), to_markdown(made_report())):
        assert "on these volumes, so on others its mean will be a little worse" in text
        assert "DSC is the primary metric" in text
        assert "an exact sign-flip test over 4 groups, which cannot give less than 0.12" in text
        assert "a true difference of 0.087 would be found in four of five cases" in text
        assert text.count("exploratory") >= len(METRICS) - 1
        assert "NSD (τ = 2 µm)" in text.replace("\\", "")


def test_both_pages_tell_thin_vessels_from_thick_ones() -> None:
    """A row per loss and band of radii."""
    page, text = to_html(made_report()), to_markdown(made_report())
    for band in ("below 3 µm", "3 to 6 µm", "6 µm and more"):
        assert page.count(f"<td>{band}</td>") == len(LOSSES)
        assert text.count(f"| {band} | 4 |") == len(LOSSES)
    assert "| below 3 µm | 4 | 0.125 | 0.062 |" in text


def test_means_over_few_groups_stand_alone() -> None:
    """Neither page has brackets about nothing."""
    whole = made_report()
    metrics = {
        loss: {name: one.model_copy(update={"ci_low": None, "ci_high": None}) for name, one in found.items()}
        for loss, found in whole.metrics.items()
    }
    differences = tuple(dataclasses.replace(one, ci_low=None, ci_high=None) for one in whole.differences)
    report = made_report(metrics=metrics, differences=differences)
    for text in (to_html(report), to_markdown(report)):
        assert "[–" not in text.replace("\\", "")


def test_a_dirty_tree_and_stale_results_are_said() -> None:
    """Whoever repeats the command must know what the commit does not hold."""
    repository = dataclasses.replace(made_report().asked.repository, changed=("stages/train/loop/step.py",))  # type: ignore[type-var]
    report = made_report(repository=repository, stale=("evaluate",))
    for text in (to_html(report), to_markdown(report)):
        assert "The working tree was dirty" in text
        assert "stages/train/loop/step.py" in text
        assert "do not belong to the current files" in text
