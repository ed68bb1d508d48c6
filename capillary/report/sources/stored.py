"""A run, and a version of a registered model, as a store knows it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """Times are in milliseconds since 1970; `metrics` holds the last value of each."""

    run_id: str
    experiment_id: str
    status: str
    start_ms: int
    end_ms: int | None
    metrics: Mapping[str, float]

    @property
    def seconds(self) -> float | None:
        """How long it took, pauses between a stop and its resumption included; None while it runs."""
        return None if self.end_ms is None else (self.end_ms - self.start_ms) / 1000


@dataclass(frozen=True, kw_only=True)
class StoredVersion:
    """`version` is its number in the registered model `name`, `made_ms` when it was made, in ms since 1970."""

    name: str
    version: int
    tags: Mapping[str, str]
    made_ms: int | None
