"""predictions.csv: the newest record of each stack as a table for people and spreadsheets."""

from pathlib import Path

from capillary.prediction.output.records import History, Record
from stages.common.atomic import atomic_write
from stages.common.text import as_csv

TABLE_FILE = "predictions.csv"
COLUMNS = (
    *("image", "output", "status", "vessel_share"),
    *(f"shape_{axis}" for axis in "zyx"),
    *(f"spacing_{axis}_um" for axis in "zyx"),
    *("read_s", "compute_s", "write_s", "words"),
)
_SHOWN = {"unchanged": "done"}


def write_table(folder: Path, history: History, scratch: Path) -> None:
    """Replace the table of `folder` in one step; it is written in `scratch`, a folder on the same disk."""
    with atomic_write(scratch / TABLE_FILE) as stream:
        stream.write(as_csv(COLUMNS, map(_row, history.newest().values())))
    (scratch / TABLE_FILE).replace(folder / TABLE_FILE)


def _row(record: Record) -> dict[str, object]:
    shape, spacing = record.shape_zyx or ("",) * 3, record.spacing_um or ("",) * 3
    return {
        "image": record.image,
        "output": record.mask if record.files else "",
        "status": _SHOWN.get(record.status, record.status),
        "vessel_share": "" if record.vessel_share is None else f"{record.vessel_share:.6f}",
        **{f"shape_{axis}": size for axis, size in zip("zyx", shape, strict=True)},
        **{f"spacing_{axis}_um": size for axis, size in zip("zyx", spacing, strict=True)},
        **{name: f"{getattr(record, name):.2f}" for name in ("read_s", "compute_s", "write_s")},
        "words": " | ".join(record.words),
    }
