"""Numbers and findings as text, the same in HTML and Markdown."""

import datetime
import math
from collections.abc import Mapping
from statistics import fmean

from capillary.metrics_table import COLUMNS
from capillary.report.model import Difference, Interval, Report

NONE = "–"
LESS_IS_BETTER = {"measured_masd_um", "measured_masd_voxels"}
FEW_VOLUMES = 10


def metric_title(metric: str) -> str:
    """The name of a metric as people write it."""
    return COLUMNS[metric][0] if metric in COLUMNS else metric


def number(value: float | None, digits: int) -> str:
    """`value` rounded for show, with a true minus; a dash where there is none."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int) -> str:
    """`value` with its sign; a value that rounds to 0 has none."""
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")


def interval_text(interval: Interval, metric: str) -> str:
    """mean [low, high]."""
    digits = COLUMNS[metric][1]
    return f"{number(interval.mean, digits)} [{number(interval.ci_low, digits)}, {number(interval.ci_high, digits)}]"


def difference_text(found: Difference, digits: int) -> str:
    """difference [low, high], each with its sign."""
    return f"{signed(found.difference, digits)} [{signed(found.ci_low, digits)}, {signed(found.ci_high, digits)}]"


def confidence_words(confidence: float | None) -> str:
    """What the intervals are."""
    return "bootstrap interval" if confidence is None else f"{confidence * 100:g} % bootstrap interval"


def p_text(p: float) -> str:
    """A p-value with as many digits as mean something."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def duration(seconds: float | None) -> str:
    """`seconds` in the two units that matter."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(time: datetime.datetime) -> str:
    """A time to the minute, with its zone."""
    return f"{time:%Y-%m-%d %H:%M %Z}".strip()


def better(found: Difference) -> str | None:
    """The loss that is better in this metric; None where the interval holds 0 or p, corrected, is 0.05 or more."""
    if found.ci_low <= 0 <= found.ci_high or found.p_holm >= 0.05:
        return None
    first_is_better = (found.difference < 0) == (found.metric in LESS_IS_BETTER)
    return found.loss if first_is_better else found.other


def verdict(report: Report) -> str:
    """What the comparison of the losses came to, in a sentence or two."""
    if report.best is None:
        return "No loss was evaluated."
    if len(report.metrics) == 1:
        return f"One loss was evaluated, {report.best}."
    rivals = [one for one in report.differences if one.metric == "dsc" and report.best in (one.loss, one.other)]
    beaten = [_other(one, report.best) for one in rivals if better(one) == report.best]
    open_ones = [_other(one, report.best) for one in rivals if better(one) is None]
    sentence = f"{report.best} has the highest mean DSC."
    if beaten:
        sentence += f" It is better than {listed(beaten)} beyond chance (p < 0.05 after Holm)."
    if open_ones:
        sentence += f" Its difference to {listed(open_ones)} may be chance: these volumes do not decide it."
    return sentence


def _other(found: Difference, loss: str) -> str:
    return found.other if found.loss == loss else found.loss


def listed(names: list[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def cautions(report: Report) -> list[str]:
    """What a reader must know before believing the numbers."""
    found = []
    if report.stale:
        stages = ", ".join(report.stale)
        found.append(
            f"Results do not belong to the present files: dvc status reports changes in {stages}. "
            "Run dvc repro before you rely on the numbers."
        )
    for cell in report.facts.cells or ():
        if cell.reason:
            found.append(f"{cell.loss} fold {cell.fold} {cell.status}: {cell.reason}")
    counts = volume_counts(report)
    if counts and min(counts.values()) == 1:
        found.append("With one volume an interval has no width and a difference no test.")
    elif counts and min(counts.values()) < FEW_VOLUMES:
        found.append(
            f"Each mean is over {min(counts.values())} volumes. With so few, intervals are rough and mostly too narrow."
        )
    ruled = [volume for volume in report.volumes if volume.rule != "measured"]
    if ruled:
        names = listed([f"{volume.id} ({volume.loss}, {volume.rule})" for volume in ruled[:5]])
        more = f", and {len(ruled) - 5} more" if len(ruled) > 5 else ""
        found.append(f"Set by a rule instead of measured: {names}{more}.")
    return found


def volume_counts(report: Report) -> dict[str, int]:
    """Loss → number of rows that its means run over."""
    return {loss: sum(volume.loss == loss for volume in report.volumes) for loss in report.metrics if report.volumes}


def fold_means(report: Report) -> dict[str, dict[int, float]]:
    """Loss → fold → mean DSC of the volumes that the fold held out."""
    means: Mapping[str, dict[int, float]] = {loss: {} for loss in report.losses}
    for loss, folds in means.items():
        for fold in report.folds:
            values = [one.values["dsc"] for one in report.volumes if (one.loss, one.fold) == (loss, fold)]
            if values:
                folds[fold] = fmean(values)
    return {loss: folds for loss, folds in means.items() if folds}
