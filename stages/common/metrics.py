"""The metrics that exist: what each is called, how many digits of it mean something, which way is better.

What they measure is in stages/evaluate/metrics and docs/metrics.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. `name` is that of params.yaml, of the tables and of MLflow; `title` is for people, unit included."""

    name: str
    title: str
    digits: int
    less_is_better: bool = False

    @property
    def arrow(self) -> str:
        """The better direction, as a sign."""
        return "↓" if self.less_is_better else "↑"


METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="dsc", title="DSC", digits=3),
        Metric(name="centreline_dsc", title="centreline DSC", digits=3),
        Metric(name="measured_masd_um", title="MASD (µm)", digits=2, less_is_better=True),
        Metric(name="measured_masd_voxels", title="MASD (voxels)", digits=2, less_is_better=True),
        Metric(name="hd95_um", title="HD95 (µm)", digits=2, less_is_better=True),
        Metric(name="nsd", title="NSD", digits=3),
        Metric(name="betti_0_error", title="Betti-0 error", digits=1, less_is_better=True),
        Metric(name="betti_1_error", title="Betti-1 error", digits=1, less_is_better=True),
    )
}
