"""The outcome: whether the weights and metrics are the same, and what differs that could explain it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from capillary.reproduce.differences import Difference
from stages.common.errors import ExitCode

MOST_DIFFERENCES = 40


@dataclass(frozen=True, kw_only=True)
class CellVerdict:
    """One network, then and now. The DSC is the validation's; None if the version does not say it."""

    label: str
    stage: str
    weights_then: str
    weights_now: str
    dsc_then: float | None
    dsc_now: float | None
    differences: tuple[Difference, ...]

    @property
    def is_identical(self) -> bool:
        """Equal weights and, where both are known, an equal score."""
        known = self.dsc_then is not None and self.dsc_now is not None
        return self.weights_then == self.weights_now and (not known or self.dsc_then == self.dsc_now)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All of it. The metrics are those of evaluate, empty if none were compared.

    `reasons` are what differs between the two evaluations; None if nothing was recorded of the first one.
    """

    label: str
    cells: tuple[CellVerdict, ...]
    metrics_then: Mapping[str, float]
    metrics_now: Mapping[str, float]
    reasons: tuple[Difference, ...] | None = None

    @property
    def metric_differences(self) -> tuple[Difference, ...]:
        """Metrics with other means."""
        if not self.metrics_now:
            return ()
        pairs = ((name, then, self.metrics_now.get(name)) for name, then in self.metrics_then.items())
        return tuple(
            Difference(name=f"metric: {name}", then=repr(then), now="–" if now is None else repr(now))
            for name, then, now in pairs
            if then != now
        )

    @property
    def is_identical(self) -> bool:
        """Every cell and every metric."""
        return all(cell.is_identical for cell in self.cells) and not self.metric_differences

    @property
    def exit_code(self) -> int:
        """0, or the code for a training that ran but differs."""
        return 0 if self.is_identical else ExitCode.DIFFERS


def lines_of(verdict: Verdict) -> Iterator[str]:
    """The verdict as people read it."""
    for cell in verdict.cells:
        yield from _cell_lines(cell)
    if verdict.metrics_now:
        yield from _metric_lines(verdict)
    yield f"{verdict.label}: {'identical' if verdict.is_identical else 'trained again, but it differs'}"


def _metric_lines(verdict: Verdict) -> Iterator[str]:
    found, reasons = verdict.metric_differences, verdict.reasons
    if not found:
        yield f"metrics: identical ({len(verdict.metrics_then)} means)"
        if reasons:
            yield f"  although {_names(reasons)} differ"
        return
    yield from (_shown(each) for each in found)
    if reasons is None:
        yield "  evaluate's own provenance is missing: its code or params may have been others than those used here"
    elif not reasons and all(cell.is_identical for cell in verdict.cells):
        yield "  nothing that was recorded of the evaluation differs"
    yield from (f"  evaluation: {_shown(each).strip()}" for each in (reasons or ())[:MOST_DIFFERENCES])


def _cell_lines(cell: CellVerdict) -> Iterator[str]:
    name = f"{cell.label} ({cell.stage})"
    if cell.is_identical:
        yield f"{name}: identical, weights {cell.weights_now[:12]}{_score(cell)}"
        if cell.differences:
            yield f"  although {_names(cell.differences)} differ"
        return
    yield f"{name}: differs, weights {cell.weights_now[:12]} instead of {cell.weights_then[:12]}{_score(cell)}"
    if not cell.differences:
        yield "  nothing that was recorded differs: on a GPU, some kernels never repeat exactly (docs/reproduce.md)"
    yield from (_shown(each) for each in cell.differences[:MOST_DIFFERENCES])


def _score(cell: CellVerdict) -> str:
    if cell.dsc_now is None:
        return ""
    instead = "" if cell.dsc_then in (None, cell.dsc_now) else f" instead of {cell.dsc_then:.6g}"
    return f", validation DSC {cell.dsc_now:.6g}{instead}"


def _names(found: Sequence[Difference]) -> str:
    shown = ", ".join(each.name for each in found[:5])
    return shown if len(found) <= 5 else f"{shown} and {len(found) - 5} more"


def _shown(each: Difference) -> str:
    return f"  {each.name}: {each.then} → {each.now}"
