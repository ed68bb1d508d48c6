"""The metrics that exist: what each is called, how many digits of it mean something, which way is better.

What they measure is in stages/evaluate/metrics and docs/metrics.md.
"""

import math
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. `name` is that of params.yaml, of the tables and of MLflow; `title` is for people, unit included.

    A value is between 0 and `highest`.
    """

    name: str
    title: str
    digits: int
    less_is_better: bool = False
    highest: float = math.inf
    has_tolerance: bool = False

    @property
    def arrow(self) -> str:
        """The better direction, as a sign."""
        return "↓" if self.less_is_better else "↑"

    def within(self, tolerance_um: float | None) -> Self:
        """The metric with its tolerance in the title, where it has one: without it the number means nothing."""
        if not self.has_tolerance or tolerance_um is None:
            return self
        return replace(self, title=f"{self.title} (τ = {tolerance_um:g} µm)")


# names by which people ask for a metric
SHORT_NAMES = {"measured_masd": "measured_masd_um"}

METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="dsc", title="DSC", digits=3, highest=1.0),
        Metric(name="centreline_dsc", title="centreline DSC", digits=3, highest=1.0),
        Metric(name="measured_masd_um", title="MASD (µm)", digits=2, less_is_better=True),
        Metric(name="measured_masd_voxels", title="MASD (voxels)", digits=2, less_is_better=True),
        Metric(name="hd95_um", title="HD95 (µm)", digits=2, less_is_better=True),
        Metric(name="nsd", title="NSD", digits=3, highest=1.0, has_tolerance=True),
        Metric(name="betti_0_error", title="Betti-0 error", digits=1, less_is_better=True),
        Metric(name="betti_1_error", title="Betti-1 error", digits=1, less_is_better=True),
    )
}
