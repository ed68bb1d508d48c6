"""The files that evaluate leaves under metrics/. Equal results give equal bytes: no times, no dates."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow
import pyarrow.parquet

from stages.common.atomic import atomic_write
from stages.common.statistics.results import Difference
from stages.common.text import as_csv
from stages.evaluate.held_out.rows import HeldOutResult
from stages.evaluate.held_out.tables import TEST, as_json
from stages.evaluate.metrics.bands import BANDS, BandCounts
from stages.evaluate.partial import PARTIAL, Coverage
from stages.evaluate.row import Row, has_further_seeds
from stages.evaluate.statistics.summary import Summary

PER_VOLUME = "per_volume.parquet"
PER_VOLUME_CSV = "per_volume.csv"
SUMMARY_CSV = "summary.csv"
PAIRED_CSV = "paired.csv"
BANDS_CSV = "radius_bands.csv"
METRICS_JSON = "metrics.json"
SEED = "seed"  # a column of the tables where there are additional seeds
LABELLED_SHARE = "labelled_share"  # a column of the tables a volume where some of their voxels are not labelled

_BEFORE_METRICS = pyarrow.schema(
    [
        ("loss", pyarrow.string()),
        ("fold", pyarrow.int64()),
        ("id", pyarrow.string()),
        ("group", pyarrow.string()),
    ]
)
_AFTER_METRICS = pyarrow.schema(
    [
        ("predicted_voxels", pyarrow.int64()),
        ("reference_voxels", pyarrow.int64()),
        ("common_voxels", pyarrow.int64()),
        ("rule", pyarrow.string()),  # stages/evaluate/metrics/rules.py
        ("distance_is_worst_case", pyarrow.bool_()),
        ("weights_sha256", pyarrow.string()),  # which network; its number in a registry is that server's
    ]
)


def write_outputs(
    folder: Path,
    rows: list[Row],
    summary: Summary,
    differences: list[Difference],
    coverage: Coverage | None = None,
    *,
    first_seed: int | None = None,
    held_out: Mapping[str, HeldOutResult] = MappingProxyType({}),
) -> None:
    """Write the table a volume (Parquet, and CSV for DVC's plots), the summary, metrics.json and paired differences.

    Where rows are of additional seeds, the table has a column that says which; `first_seed` is training.seed. Where a
    loss has `held_out` figures, metrics.json has them under their own key.
    If `coverage` is partial, metrics.json has a key that says what is missing: no reader takes it for a whole one.
    """
    records = [_to_record(row) | {SEED: row.seed_or(first_seed)} for row in rows]
    metrics = next(iter(summary.values()))
    is_partial = any(row.measurement.labelled_share < 1 for row in rows)
    labelled = [(LABELLED_SHARE, pyarrow.float64())] if is_partial else []
    seeds = [(SEED, pyarrow.int64())] if has_further_seeds(rows) else []
    columns_of_metrics = ((name, pyarrow.float64()) for name in metrics)
    schema = pyarrow.schema([*_BEFORE_METRICS, *columns_of_metrics, *_AFTER_METRICS, *labelled, *seeds])
    records = [{name: record[name] for name in schema.names} for record in records]
    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records, schema=schema), table)
    _write(folder / PER_VOLUME, table.getvalue())
    _write(folder / PER_VOLUME_CSV, as_csv(schema.names, records))
    intervals = {loss: {name: one.model_dump() for name, one in found.items()} for loss, found in summary.items()}
    mark = {PARTIAL: coverage.as_json(rows)} if coverage is not None and coverage.is_partial else {}
    tested = {loss: {**found, **_tested(held_out.get(loss))} for loss, found in intervals.items()}
    _write(folder / METRICS_JSON, json.dumps({**mark, **tested}, indent=2).encode() + b"\n")
    lines = [
        {"loss": loss, "metric": name, **interval}
        for loss, metrics in intervals.items()
        for name, interval in metrics.items()
    ]
    _write(folder / SUMMARY_CSV, as_csv(["loss", "metric", "mean", "ci_low", "ci_high"], lines))
    columns = [field.name for field in fields(Difference)]
    _write(folder / PAIRED_CSV, as_csv(columns, [asdict(difference) for difference in differences]))


def _tested(found: HeldOutResult | None) -> dict[str, Any]:
    return {} if found is None else {TEST: as_json(found)}


def write_bands(folder: Path, rows: list[Row], edges_um: Sequence[float], *, first_seed: int | None = None) -> None:
    """Write radius_bands.csv: a line per volume and band of radii that its label has."""
    lines = []
    for row in rows:
        limits = pairwise((0.0, *edges_um, math.inf))
        for name, (low, high), counts in zip(BANDS, limits, row.measurement.bands, strict=True):
            if counts.label:
                place = {"loss": row.loss, "fold": row.fold, "id": row.id, "band": name, "from_um": low, "to_um": high}
                found = {"recall": counts.recall, "centreline_dsc": counts.centreline_dsc}
                lines.append(place | found | asdict(counts) | {SEED: row.seed_or(first_seed)})
    columns = ["loss", "fold", "id", "band", "from_um", "to_um", "recall", "centreline_dsc"]
    seeds = [SEED] if has_further_seeds(rows) else []
    _write(folder / BANDS_CSV, as_csv([*columns, *(field.name for field in fields(BandCounts)), *seeds], lines))


def _to_record(row: Row) -> dict[str, Any]:
    measurement = row.measurement
    return {
        "loss": row.loss,
        "fold": row.fold,
        "id": row.id,
        "group": row.group,
        # what could not be measured in a partial annotation has no value
        **{name: None if math.isnan(value) else value for name, value in measurement.values.items()},
        "predicted_voxels": measurement.predicted_voxels,
        "reference_voxels": measurement.reference_voxels,
        "common_voxels": measurement.common_voxels,
        "rule": str(measurement.rule),
        "distance_is_worst_case": measurement.rule.distance_is_worst_case,
        "weights_sha256": row.weights_sha256,
        LABELLED_SHARE: measurement.labelled_share,
    }


def _write(file: Path, content: bytes) -> None:
    with atomic_write(file) as stream:
        stream.write(content)
