"""Two masks of one volume: each metric, and what several of them share, computed when it is first asked for."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from stages.common.imaging.masks.skeleton import skeleton
from stages.common.imaging.zyx import Spacing
from stages.evaluate.metrics.bands import BandCounts, band_counts
from stages.evaluate.metrics.centreline import centreline_dsc
from stages.evaluate.metrics.nearest import Mask
from stages.evaluate.metrics.overlap import dsc
from stages.evaluate.metrics.rules import Rule, mask_rule
from stages.evaluate.metrics.surface import SurfaceDistances, border, diagonal, distances
from stages.evaluate.metrics.topology import BettiNumbers, betti_numbers

Found = TypeVar("Found")
VOXELS: Spacing = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two masks cut to what they fill and a voxel around it, with everything that several metrics share, computed when
    first asked for.
    """

    prediction: Mask
    reference: Mask
    volume_shape: tuple[int, ...]
    spacing_um: Spacing
    nsd_tolerance_um: float
    threads: int

    @cached_property
    def rule(self) -> Rule:
        """As far as it shows without centrelines."""
        return mask_rule(self.prediction, self.reference)

    @cached_property
    def final_rule(self) -> Rule:
        """With centrelines."""
        unknown = self.rule is Rule.MEASURED and self._overlap_of_centrelines is None
        return Rule.CENTRELINES_DISJOINT if unknown else self.rule

    @cached_property
    def _centrelines(self) -> tuple[Mask, Mask]:
        return self._of_both(skeleton)

    @cached_property
    def _overlap_of_centrelines(self) -> float | None:
        return centreline_dsc(self.prediction, self.reference, *self._centrelines)

    @cached_property
    def _borders(self) -> tuple[Mask, Mask]:
        return self._of_both(border)

    @cached_property
    def _distances_um(self) -> SurfaceDistances:
        return distances(*self._borders, self.spacing_um, self.threads)

    @cached_property
    def _betti_numbers(self) -> tuple[BettiNumbers, BettiNumbers]:
        return self._of_both(betti_numbers)

    def _of_both(self, describe: Callable[[Mask], Found]) -> tuple[Found, Found]:
        """What `describe` says of each mask; side by side where there are threads, since it leaves Python's lock."""
        if self.threads == 1:
            return describe(self.prediction), describe(self.reference)
        with ThreadPoolExecutor(max_workers=2) as pool:
            prediction, reference = pool.map(describe, (self.prediction, self.reference))
        return prediction, reference

    def bands(self, edges_um: Sequence[float]) -> tuple[BandCounts, ...]:
        """Thin, middle and thick vessels apart."""
        masks = (self.prediction, self.reference)
        return band_counts(masks, self._centrelines, self.spacing_um, edges_um, self.threads)

    def dsc(self) -> float:
        return dsc(self.prediction, self.reference)

    def centreline_dsc(self) -> float:
        if self.rule is not Rule.MEASURED:
            return 1.0 if self.rule is Rule.BOTH_EMPTY else 0.0
        return self._overlap_of_centrelines or 0.0

    def masd_um(self) -> float:
        return self._distance(lambda: self._distances_um.masd(), self.spacing_um)

    def masd_voxels(self) -> float:
        return self._distance(lambda: distances(*self._borders, VOXELS, self.threads).masd(), VOXELS)

    def hd95_um(self) -> float:
        return self._distance(lambda: self._distances_um.hd95(), self.spacing_um)

    def _distance(self, measured: Callable[[], float], spacing: Spacing) -> float:
        if self.rule is Rule.BOTH_EMPTY:
            return 0.0
        return diagonal(self.volume_shape, spacing) if self.rule.distance_is_worst_case else measured()

    def nsd(self) -> float:
        if self.rule is Rule.BOTH_EMPTY:
            return 1.0
        return 0.0 if self.rule.distance_is_worst_case else self._distances_um.nsd(self.nsd_tolerance_um)

    def betti_0_error(self) -> float:
        prediction, reference = self._betti_numbers
        return float(abs(prediction.b0 - reference.b0))

    def betti_1_error(self) -> float:
        prediction, reference = self._betti_numbers
        return float(abs(prediction.b1 - reference.b1))
