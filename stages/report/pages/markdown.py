"""A report as Markdown, for a terminal, a pull request or a wiki: the same tables, without charts and pictures."""

from collections.abc import Iterator, Sequence
from itertools import chain

from stages.common.requests.report import ReportPart
from stages.common.text import visible
from stages.report.model import Report
from stages.report.pages.summary import environment_rows, tiles, training_rows
from stages.report.words import (
    CHOSEN_HERE,
    NONE,
    band_text,
    cautions,
    choice_words,
    difference_text,
    duration,
    effect_text,
    fold_means,
    interval_text,
    moment,
    number,
    outcome,
    p_text,
    quote_words,
    spread_words,
    test_words,
    verdict,
    volume_counts,
    with_intervals,
)

# what would be read as Markdown or HTML, anywhere in a line
_SPECIAL = {ord(sign): f"\\{sign}" for sign in "\\`*_[]|~#"} | {ord("<"): "&lt;", ord(">"): "&gt;", ord("&"): "&amp;"}


def to_markdown(report: Report) -> str:
    """The text. Whatever a user wrote is escaped."""
    return "\n".join(_lines(report)) + "\n"


def plain(text: str) -> str:
    """`text` on one line, without any meaning to Markdown."""
    return visible(" ".join(text.split())).translate(_SPECIAL)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table; cells are escaped."""
    yield ""
    yield f"| {' | '.join(map(plain, head))} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(map(plain, row))} |" for row in rows)


def _lines(report: Report) -> Iterator[str]:
    yield f"# {plain(report.asked.name)}"
    asked = report.asked
    if asked.facts.description:
        yield f"\n{plain(asked.facts.description)}"
    yield f"\nWritten {moment(asked.written)} by capillary. Charts and pictures: `report.html` next to this file."
    yield from _summary(report)
    yield from _losses(report)
    yield from _held_out(report)
    yield from _differences(report)
    yield from _folds(report)
    yield from _calibration(report)
    yield from _volumes(report)
    yield from _registered(report)
    yield from _trainings(report)
    yield from _repeat(report)


def _summary(report: Report) -> Iterator[str]:
    rows = []
    if report.best:
        rows.append(("best loss", report.best))
        found = report.metrics[report.best][report.lead.name]
        rows.append((f"its {report.lead.title}", interval_text(found, report.lead)))
        if len(report.metrics) > 1:
            rows.append(("chosen", CHOSEN_HERE))
    rows += [(name, f"{shown} ({remark})" if remark else shown) for name, shown, remark in tiles(report)]
    yield from table(("", ""), rows)
    yield from (f"\n> **Note:** {plain(caution)}" for caution in cautions(report))


def _losses(report: Report) -> Iterator[str]:
    yield "\n## Losses"
    yield f"\n{plain(verdict(report))}"
    if report.metrics:
        counts, intervals = volume_counts(report), report.metrics.values()
        yield f"\n{plain(choice_words(report))}"
        brackets = with_intervals(report, chain.from_iterable(found.values() for found in intervals))
        yield f"\nMean over the groups, out of fold{brackets}."
        # a column a loss: there are mostly more metrics than losses, and few columns can be read as plain text
        rows = [
            (f"{metric.title} {metric.arrow}", *(interval_text(found[metric.name], metric) for found in intervals))
            for metric in report.shown
        ]
        volumes = ("volumes", *(str(counts.get(loss, "–")) for loss in report.metrics))
        yield from table(("↑ more is better, ↓ less", *report.metrics), [*rows, volumes])
    if report.bands:
        yield "\nVessels by radius: all voxels of the volumes that have such vessels, out of fold."
        rows = [
            (one.loss, band_text(one), str(one.volumes), number(one.recall, 3), number(one.centreline_dsc, 3))
            for one in report.bands
        ]
        yield from table(("loss", "radius", "volumes", "recall", "centreline DSC"), rows)
    yield from _note(report, ReportPart.METRICS)
    yield from _note(report, ReportPart.BANDS)


def _held_out(report: Report) -> Iterator[str]:
    if not report.held_out:
        return
    yield "\n## Held-out volumes"
    yield f"\n{plain(quote_words(report))}"
    for loss, found in report.held_out.items():
        rows = []
        for name, one in found.ensemble.items():
            metric = report.metric(name)
            single = number(found.folds[name], metric.digits)
            rows.append((f"{metric.title} {metric.arrow}", interval_text(one, metric), single))
        yield from table((loss, "ensemble", "single networks"), rows)


def _differences(report: Report) -> Iterator[str]:
    yield "\n## Paired differences"
    if report.differences:
        yield f"\n{plain(test_words(report))}"
        rows = []
        for found in report.differences:
            rows.append(
                (
                    f"{found.loss} − {found.other}",
                    report.metric(found.metric).title,
                    difference_text(found),
                    effect_text(found),
                    p_text(found.p),
                    p_text(found.p_holm),
                    outcome(found),
                )
            )
        yield from table(("pair", "metric", "difference", "effect size", "p", "p, Holm", "better"), rows)
    yield from _note(report, ReportPart.PAIRED)


def _folds(report: Report) -> Iterator[str]:
    yield "\n## Fold spread"
    digits = report.lead.digits
    rows = [
        (loss, *(number(means.get(fold), digits) for fold in report.folds))
        for loss, means in fold_means(report).items()
    ]
    if rows:
        yield f"\nMean {plain(report.lead.title)} over the groups that a fold held out."
        yield from table(("loss", *(f"fold {fold}" for fold in report.folds)), rows)
    if spread := spread_words(report):
        yield f"\n{plain(spread)}"
    yield from _note(report, ReportPart.VOLUMES)


def _calibration(report: Report) -> Iterator[str]:
    yield "\n## Calibration"
    if report.calibration:
        yield "\nExpected calibration error over all voxels, out of fold; 0 is calibrated."
        rows = [(loss, number(error, 4)) for loss, error in report.calibration_errors.items()]
        yield from table(("loss", "calibration error"), rows)
    yield from _note(report, ReportPart.CALIBRATION)


def _volumes(report: Report) -> Iterator[str]:
    if not report.volumes:
        return
    yield "\n## Volumes"
    rows = [
        (
            volume.id,
            volume.loss,
            str(volume.fold),
            *([str(volume.seed)] if report.has_seeds else []),
            *(number(volume.values[metric.name], metric.digits) for metric in report.shown),
            volume.rule,
        )
        for volume in sorted(report.volumes, key=lambda one: one.id)
    ]
    seed = ["seed"] if report.has_seeds else []
    yield from table(("volume", "loss", "fold", *seed, *(metric.title for metric in report.shown), "rule"), rows)


def _registered(report: Report) -> Iterator[str]:
    yield "\n## Registered trainings"
    found = report.registered
    for one in (each for each in found.trainings if each.is_this):
        yield f"\n{plain(f'{one.title} was trained here ({one.loss}). {one.against_champion}')}"
    rows = [
        (
            f"{one.title}{' ●' if one.is_this else ''}",
            *(text or NONE for text in (one.state, one.loss, f"{one.metric} {one.value}".strip(), one.volumes)),
            *([one.held_out or NONE] if found.has_held_out else []),
            *(text or NONE for text in (one.networks, one.commit[:12], moment(one.made) if one.made else "")),
        )
        for one in found.trainings
    ]
    if rows:
        held_out = ["held out, ensemble"] if found.has_held_out else []
        head = ("training (● trained here)", "state", "loss", "deciding metric", "volumes", *held_out)
        yield from table((*head, "networks", "commit", "registered"), rows)
    if found.left_out:
        yield f"\n{found.left_out} older ones are not shown: `capillary models` lists all."
    if found.missing:
        yield f"\n> {plain(found.missing)}"


def _trainings(report: Report) -> Iterator[str]:
    yield "\n## Trainings"
    rows = [
        (row.name, row.status, row.epochs, duration(row.seconds), row.memory, row.model, row.url or row.run_id)
        for row in training_rows(report)
    ]
    if rows:
        yield from table(("training", "status", "epochs", "time", "peak memory", "model", "MLflow run"), rows)
    yield from _note(report, ReportPart.RUNS)


def _repeat(report: Report) -> Iterator[str]:
    yield "\n## Repeat it"
    # an indented block: a fence could be closed from within
    yield ""
    yield from (f"    {visible(line)}" for command in report.asked.repeat for line in command.split("\n"))
    found = report.asked.repository
    if found is not None and found.changed:
        changed = ", ".join(found.changed)
        yield f"\n> The working tree was dirty: the commit alone does not reproduce this. {plain(changed)}"
    yield from _note(report, ReportPart.GIT)
    yield from table(("environment", ""), environment_rows(report))
    marked = [(f"{param.key} ●" if param.changed else param.key, param.value) for param in report.asked.params]
    yield from table(("params.yaml (● differs from the commit)", ""), marked)


def _note(report: Report, part: ReportPart) -> Iterator[str]:
    if part in report.notes:
        yield f"\n> {plain(report.notes[part])}"
