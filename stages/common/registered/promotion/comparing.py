"""Two trainings on the volumes that both were measured on: the means, and the difference with its paired interval.

A volume is the same one where its id and its label are. A training that has it several times, under several seeds or
folds, counts its mean; volumes of one group count as one value, as everywhere in evaluate.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stages.common.metrics import METRICS, Metric
from stages.common.registered.trainings.training import Training
from stages.common.statistics.flips import flip_test
from stages.common.statistics.groups import group_means
from stages.common.text import counted

_ROUNDING = 1e-12
VolumeName = tuple[str, str]  # id, SHA-256 of the label


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`one` and `other` are means over the groups of the `volumes` that both have, None if there are none.

    `metric` is empty where `one` cannot be read. `difference` is one − other. `left_out` counts volumes that only one
    of both has. `why_not` says why nothing could be compared.
    """

    metric: str
    volumes: int
    groups: int
    left_out: int
    one: float | None = None
    other: float | None = None
    difference: float | None = None
    confidence: float = 0.95
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    why_not: str = ""

    @property
    def is_better(self) -> bool:
        """Whether `one` is better; not where nothing could be compared or both are equal."""
        if self.difference is None:
            return False
        gain = -self.difference if METRICS[self.metric].less_is_better else self.difference
        return gain > _ROUNDING

    def values(self) -> dict[str, float | None]:
        """The numbers by name."""
        names = ("one", "other", "difference", "ci_low", "ci_high", "p", "volumes", "groups", "left_out")
        return {name: getattr(self, name) for name in names}

    def words(self) -> str:
        """The difference, its interval and what it was measured on."""
        if self.difference is None:
            within = f" in {METRICS[self.metric].title}" if self.metric else ""
            return f"not comparable{within}: {self.why_not}"
        metric = METRICS[self.metric]
        text = f"{metric.title} {self.one:.{metric.digits}f} against {self.other:.{metric.digits}f}"
        text += f", difference {self.difference:+.{metric.digits + 1}f}"
        if self.ci_low is not None and self.ci_high is not None:
            text += f" [{self.ci_low:+.{metric.digits + 1}f}, {self.ci_high:+.{metric.digits + 1}f}]"
            text += f" ({self.confidence:.0%}, paired)"
        else:
            text += " (too few groups for an interval)"
        text += f", on {counted(self.volumes, 'volume')} of {counted(self.groups, 'group')}"
        return text + (
            f"; left out: {counted(self.left_out, 'volume')} that only one of them has" if self.left_out else ""
        )


def compare(one: Training, other: Training, metric: str) -> Comparison:
    """`one` against `other` in `metric`, with the settings of `one`."""
    values, others = _by_volume(one, metric), _by_volume(other, metric)
    common = [name for name in values if name in others]
    left_out = len(values.keys() ^ others.keys())
    if reason := _obstacle(one, other, METRICS[metric], bool(common)):
        return Comparison(metric=metric, volumes=0, groups=0, left_out=left_out, why_not=reason)
    groups_of = {(volume.id, volume.label_sha256): volume.group for volume in one.volumes}
    groups = [groups_of[name] for name in common]
    means = [group_means(np.array([found[name] for name in common]), groups) for found in (values, others)]
    settings = one.settings
    differences = means[0] - means[1]
    test = flip_test(differences, settings.confidence, draws=settings.bootstrap_iterations, seed=settings.seed)
    return Comparison(
        metric=metric,
        volumes=len(common),
        groups=len(differences),
        left_out=left_out,
        one=float(means[0].mean()),
        other=float(means[1].mean()),
        difference=float(differences.mean()),
        confidence=settings.confidence,
        ci_low=test.ci_low,
        ci_high=test.ci_high,
        p=test.p,
    )


def _obstacle(one: Training, other: Training, metric: Metric, have_common: bool) -> str:
    """Why both cannot be compared; empty if they can."""
    if metric.name not in other.metrics or metric.name not in one.metrics:
        return "one of them was not measured in it"
    if metric.has_tolerance and one.settings.nsd_tolerance_um != other.settings.nsd_tolerance_um:
        return f"their tolerances are {one.settings.nsd_tolerance_um:g} and {other.settings.nsd_tolerance_um:g} µm"
    return "" if have_common else "they have no volume with an equal label in common"


def _by_volume(training: Training, metric: str) -> Mapping[VolumeName, float]:
    found: dict[VolumeName, list[float]] = defaultdict(list)
    for volume in training.volumes:
        value = volume.values.get(metric)
        if value is not None and math.isfinite(value):
            found[volume.id, volume.label_sha256].append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}
