"""Numbers and findings as text, the same in HTML and Markdown."""

import datetime
import math
from collections.abc import Iterable, Mapping
from statistics import fmean

from stages.common.metrics import METRICS, Metric
from stages.common.statistics.groups import LEAST_GROUPS
from stages.common.statistics.results import Difference, Interval, Role
from stages.common.text import counted, percent
from stages.report.model import BandResult, Coverage, Report

NONE = "–"
FEW_VOLUMES = 10
SIGNIFICANCE = 0.05
CHOSEN_HERE = "on these volumes, so on others its mean will be a little worse"


def number(value: float | None, digits: int) -> str:
    """`value` rounded for show, with a true minus; a dash if there is none."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int) -> str:
    """`value` with its sign; a value that rounds to 0 has none."""
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")


def interval_text(interval: Interval, metric: Metric) -> str:
    """mean [low, high]; only the mean if there is no interval."""
    mean, low, high = (number(end, metric.digits) for end in (interval.mean, interval.ci_low, interval.ci_high))
    return mean if interval.ci_low is None or interval.ci_high is None else f"{mean} [{low}, {high}]"


def difference_text(found: Difference) -> str:
    """difference [low, high], each with its sign; only the difference if there is no interval."""
    digits = METRICS[found.metric].digits
    if found.ci_low is None or found.ci_high is None:
        return signed(found.difference, digits)
    return f"{signed(found.difference, digits)} [{signed(found.ci_low, digits)}, {signed(found.ci_high, digits)}]"


def confidence_words(report: Report) -> str:
    """What the intervals are."""
    return "interval" if report.asked.confidence is None else f"{report.asked.confidence * 100:g} % interval"


def with_intervals(report: Report, intervals: Iterable[Interval]) -> str:
    """The end of a sentence about means: it names their intervals, and is empty if there are none (too few groups)."""
    is_any = any(one.ci_low is not None for one in intervals)
    return f", with its {confidence_words(report)} in brackets" if is_any else ""


def best_words(metric: Metric) -> str:
    """What the best mean is called."""
    return f"{'lowest' if metric.less_is_better else 'highest'} mean {metric.title}"


def choice_words(report: Report) -> str:
    """Which data chose the networks that are reported."""
    epochs = sorted({one.card.epochs for one in report.trained})
    counted = f" ({listed([str(number_of) for number_of in epochs])})" if epochs else ""
    return (
        f"Each network is that of its training's last epoch{counted}, a number fixed before the training: "
        "no volume reported here chose its own network. A loss that is chosen by these numbers was chosen on these "
        "volumes, and on others its mean will be a little worse."
    )


def quote_words(report: Report) -> str:
    """What the held-out figures are good for; nothing if no volume is held out."""
    if not report.held_out:
        return ""
    counts = [
        f"{loss}: {counted(found.volumes, 'volume')} of {counted(found.groups, 'group')}, "
        f"{counted(found.networks, 'network')}"
        for loss, found in report.held_out.items()
    ]
    few = min(found.groups for found in report.held_out.values()) < LEAST_GROUPS
    return (
        f"No fold saw these volumes ({'; '.join(counts)}). The ensemble is the mean of all networks' probabilities. "
        "Its figure is the one to quote, provided that it was not used to choose anything."
        + (f" Fewer than {LEAST_GROUPS} groups give no interval." if few else "")
    )


def spread_words(report: Report) -> str:
    """How much the first metric varies with the seed and with the fold; nothing if there is one seed."""
    digits = report.lead.digits
    each = [
        f"{one.loss} {number(one.over_seeds, digits)} over {counted(one.seeds, 'seed')}, "
        f"{number(one.over_folds, digits)} over {counted(one.folds, 'fold')}"
        for one in report.spreads
        if one.metric == report.lead.name and one.over_seeds is not None
    ]
    if not each:
        return ""
    return (
        f"Standard deviation of the mean {report.lead.title}: {'; '.join(each)}. A volume counts once: its seeds are "
        "averaged first."
    )


def labelled_words(report: Report) -> str:
    """What share of the volumes is labelled; nothing if all of it is."""
    shares = {volume.id: volume.labelled_share for volume in report.volumes}
    in_part = sum(share < 1 for share in shares.values())
    if not in_part:
        return ""
    unmeasured = any(math.isnan(value) for volume in report.volumes for value in volume.values.values())
    missing = f" A metric without a value ({NONE}) needs larger labelled blocks." if unmeasured else ""
    mean = percent(fmean(shares.values())).capitalize()
    return (
        f"{mean} of the voxels are labelled (a mean over volumes; {in_part} of {len(shares)} are "
        f"labelled in part). All numbers are of those voxels alone (docs/labels.md).{missing}"
    )


def band_text(band: BandResult) -> str:
    """Which radii."""
    if math.isinf(band.to_um):
        return f"{band.from_um:g} µm and more"
    return f"{band.from_um:g} to {band.to_um:g} µm" if band.from_um else f"below {band.to_um:g} µm"


def p_text(p: float | None) -> str:
    """A p-value with as many digits as mean something; a dash if there is none."""
    if p is None:
        return NONE
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
    """The loss that is better in the primary metric; None if p, corrected, is 0.05 or more or the interval holds 0,
    and in other metrics.
    """
    if found.p_holm is None or found.p_holm >= SIGNIFICANCE:
        return None
    if found.ci_low is not None and found.ci_high is not None and found.ci_low <= 0 <= found.ci_high:
        return None
    first_is_better = (found.difference < 0) == METRICS[found.metric].less_is_better
    return found.loss if first_is_better else found.other


def outcome(found: Difference) -> str:
    """What a paired difference came to."""
    return better(found) or ("undecided" if found.role is Role.PRIMARY else "exploratory")


def test_words(report: Report) -> str:
    """How the paired differences of the primary metric are tested, and what so many groups can show at all."""
    primary = [found for found in report.differences if found.role is Role.PRIMARY]
    if not primary:
        return ""
    metric, groups = report.metric(primary[0].metric), min(found.groups for found in primary)
    smallest = max(found.p_smallest for found in primary)
    pairs = counted(len(primary), "pair")
    sentence = (
        f"{metric.title} is the primary metric: p is of an exact sign-flip test over {counted(groups, 'group')},"
        f" which cannot give less than {p_text(smallest)}, and Holm corrects it for {pairs}."
        " The other metrics are exploratory: their p is not corrected and decides nothing."
    )
    if found := [one.detectable for one in primary if one.detectable is not None]:
        sentence += (
            f" With so many groups a true difference of {number(max(found), metric.digits)} would be found in four of "
            "five cases; a smaller one may exist undetected."
        )
    return sentence


def effect_text(found: Difference) -> str:
    """The standardised difference with its sign."""
    return NONE if found.effect_size is None else signed(found.effect_size, 1)


def verdict(report: Report) -> str:
    """What the comparison of the losses came to, in a sentence or two."""
    if report.coverage is not None and len(report.metrics) > 1:
        return "Cells are missing: the means of the losses are over different volumes, so none is called the best."
    if report.best is None:
        return "No loss was evaluated."
    if len(report.metrics) == 1:
        return f"One loss was evaluated, {report.best}."
    rivals = [
        one for one in report.differences if one.metric == report.lead.name and report.best in (one.loss, one.other)
    ]
    beaten = [_other(one, report.best) for one in rivals if better(one) == report.best]
    open_ones = [_other(one, report.best) for one in rivals if better(one) is None]
    sentence = f"{report.best} has the {best_words(report.lead)}."
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
    if report.coverage is not None:
        found.append(_what_is_missing(report.coverage))
    elif report.asked.stale:
        stages = ", ".join(report.asked.stale)
        found.append(
            f"These results do not belong to the current files: dvc status reports changes in {stages}. "
            "Run dvc repro before you rely on the numbers."
        )
    for cell in report.asked.facts.cells or ():
        if cell.reason:
            found.append(f"{cell.cell.words} {cell.status}: {cell.reason}")
    if few := _few_volumes(report):
        found.append(few)
    if labelled := labelled_words(report):
        found.append(labelled)
    ruled = [volume for volume in report.volumes if volume.rule != "measured"]
    if ruled:
        names = listed([f"{volume.id} ({volume.loss}, {volume.rule})" for volume in ruled[:5]])
        more = f", and {len(ruled) - 5} more" if len(ruled) > 5 else ""
        found.append(f"Set by a rule instead of measured: {names}{more}.")
    return found


def _what_is_missing(coverage: Coverage) -> str:
    """Which cells a partial report lacks, and over how many volumes its means run."""
    missing = listed([cell.words for cell in coverage.missing])
    counts = listed([f"{loss} {count} of {coverage.of_volumes}" for loss, count in coverage.volumes.items()])
    return (
        f"This report is partial: {missing} {'is' if len(coverage.missing) == 1 else 'are'} missing. Volumes measured, "
        f"out of fold: {counts}. Paired differences are over the volumes that both losses have. "
        "Run dvc repro for the whole evaluation."
    )


def _few_volumes(report: Report) -> str | None:
    """What a small number of volumes, or of groups where some are of one, does to intervals and tests."""
    volumes, groups = (min(counts.values(), default=0) for counts in (volume_counts(report), group_counts(report)))
    if groups == 0 or groups >= FEW_VOLUMES:
        return None
    few = counted(volumes, "volume")
    few += "" if groups == volumes else f" of {counted(groups, 'group')}; only groups are independent"
    if groups < LEAST_GROUPS:
        return f"Each mean is over {few}. That is too few for an interval: look at the values by themselves."
    return f"Each mean is over {few}. With so few, intervals are wide and only large differences show."


def volume_counts(report: Report) -> dict[str, int]:
    """Loss → number of volumes that its means run over, each counted once for each fold that validates it."""
    return {
        loss: len({(volume.fold, volume.id) for volume in report.volumes if volume.loss == loss})
        for loss in report.metrics
        if report.volumes
    }


def group_counts(report: Report) -> dict[str, int]:
    """Loss → number of independent groups that its volumes are of."""
    return {
        loss: len({volume.group for volume in report.volumes if volume.loss == loss}) for loss in volume_counts(report)
    }


def fold_means(report: Report) -> dict[str, dict[int, float]]:
    """Loss → fold → mean of the first metric over the groups that the fold held out, as all other means are.

    It runs over the volumes in which the metric could be measured; a fold without any is left out.
    """
    means: Mapping[str, dict[int, float]] = {loss: {} for loss in report.losses}
    for loss, folds in means.items():
        for fold in report.folds:
            groups: dict[str, list[float]] = {}
            for one in report.volumes:
                value = one.values[report.lead.name]
                if (one.loss, one.fold) == (loss, fold) and not math.isnan(value):
                    groups.setdefault(one.group, []).append(value)
            if groups:
                folds[fold] = fmean(map(fmean, groups.values()))
    return {loss: folds for loss, folds in means.items() if folds}
