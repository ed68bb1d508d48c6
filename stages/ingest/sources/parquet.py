"""A set in Parquet files, as the Hugging Face Hub stores images: files as bytes in the cells of a table.

It becomes a folder: a dataset.csv with the same columns, and for each cell of bytes a file, which the cell names.
"""

import csv
import importlib
import math
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.common.dataset.columns import ACCEPTED, REQUIRED, key_of
from stages.common.dataset.layouts import NoLayout, find_layout
from stages.common.dataset.table import MAX_ROWS, refuse_more
from stages.common.errors import DataError, MachineError
from stages.common.imaging.formats.claims import refuse_large
from stages.common.imaging.suffixes import suffix_of
from stages.ingest.sources.archives.limits import MAX_EXPANSION, SMALL_BYTES
from stages.ingest.sources.local import TABLE, LocalFolder
from stages.ingest.sources.source import Source

SUFFIX = ".parquet"
# as a whole word: `strain` does not name the training split
_SPLIT = re.compile(r"(?<![a-z])(train|test|val|dev|eval)(?:ing|id(?:ation)?|uation)?_?(?:set|data)?(?![a-z])")
_TRAINING = "train"
_PNG = ".png"  # a slice: of one alone, the stack is a folder
# the suffix of a file whose name has none, by its first bytes
_MAGICS = {
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"II+\0": ".tif",
    b"\x1f\x8b": ".nii.gz",
    b"\x89PNG": _PNG,
    b"NRRD": ".nrrd",
}


def with_parquet(source: Source, scratch: Path) -> tuple[Source, tuple[str, ...]]:
    """`source`; or what its Parquet files hold, in a folder below `scratch`, if it has neither a table nor a layout.
    With remarks on splits that are not read.

    Raises DataError for a file that is damaged and for splits without one to train on, MachineError without the package
    that reads it.
    """
    if source.table is not None or any(name.lower().endswith((".csv", ".tsv")) for name in source.names("")):
        return source, ()
    if not isinstance(find_layout(source.names), NoLayout):
        return source, ()
    files = [name for name in source.below("") if name.lower().endswith(SUFFIX)]
    if not files:
        return source, ()
    chosen, notes = _of_one_split(files, source.shown)
    unpacked = _Unpacked(folder=scratch / "parquet")
    unpacked.folder.mkdir()
    source.expect(chosen)
    copy = scratch / "set.parquet"
    for name in chosen:
        source.fetch(name, copy)
        unpacked.add(copy, f"{source.shown}/{name}")
        copy.unlink()
    unpacked.write_table()
    return LocalFolder(folder=unpacked.folder, shown=source.shown), notes


def _of_one_split(files: Sequence[str], shown: str) -> tuple[list[str], tuple[str, ...]]:
    """Those of the training's split, else those of none, else of the only one; and a remark on what is not read.

    Raises DataError for several splits, none of which is the training's.
    """
    splits: dict[str, list[str]] = defaultdict(list)
    for name in files:
        splits[_split_of(name)].append(name)
    chosen = next((split for split in (_TRAINING, "") if split in splits), None)
    if chosen is None and len(splits) > 1:
        listed = ", ".join(f"{split} ({names[0]})" for split, names in sorted(splits.items()))
        raise DataError(
            f"its Parquet files are of the splits {listed}; none is called train",
            remedy="rename the files to train on to train-…, or name a folder that holds them alone",
            file=shown,
        )
    if chosen is None:
        (chosen,) = splits
        return splits[chosen], (f"its only split, {chosen}, is read",)
    others = [name for split, names in sorted(splits.items()) if split != chosen for name in names]
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return splits[chosen], ((f"not read: {', '.join(others[:3])}{more}",) if others else ())


def _split_of(path: str) -> str:
    """The split that a file, or else the nearest folder, is called by; "" without one, or with several."""
    for part in reversed(path.lower().split("/")):
        if found := set(_SPLIT.findall(part)):
            return found.pop() if len(found) == 1 else ""
    return ""


@dataclass(kw_only=True)
class _Unpacked:
    """The rows so far: text by the name of its column. `folder` has the files that they name."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)  # the name of each row's image, "" without one

    def add(self, file: Path, shown: str) -> None:
        """Unpack the rows of `file`, which messages call `shown`."""
        room = max(SMALL_BYTES, file.stat().st_size * MAX_EXPANSION)
        try:
            for row in _rows(file):
                refuse_more("rows", len(self.rows) + 1, MAX_ROWS, shown)
                room -= self._add(row)
                if room < 0:
                    raise ValueError(f"it unpacks to more than {MAX_EXPANSION} times its size")
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault; pyarrow's own errors have no number
            reason = " ".join(str(error).split())[:160]
            remedy = "replace it, or export its stacks as files"
            raise DataError(f"{shown} cannot be read: {reason}", remedy=remedy, file=shown) from error

    def _add(self, row: Mapping[str, Any]) -> int:
        """Take one row; returns how many bytes its files have."""
        cells, stem, size = {}, "", 0
        for place, (name, value) in enumerate(row.items()):
            content, path = _content(value)
            column = ACCEPTED.get(key_of(name))
            if content is None:
                cells[name] = _text(value)
            elif column in REQUIRED:
                cells[name] = self._write(content, path, f"{len(self.rows):05}/{place}")
                stem = _stem(path) if column == "image" else stem
                size += len(content)
        self.rows.append(cells)
        self.stems.append(stem)
        return size

    def _write(self, content: bytes, path: str, place: str) -> str:
        """A file with `content`, called `path` where it came from; returns how the table names it."""
        suffix = next((end for first, end in _MAGICS.items() if content.startswith(first)), "")
        suffix = suffix_of(path) or suffix
        name = f"{place}/0{suffix}" if suffix == _PNG else f"{place}{suffix}"
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)
        return place if suffix == _PNG else name

    def write_table(self) -> None:
        """dataset.csv. A set without ids has the names of its images, or the numbers of its rows."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        rows = self.rows
        if not any(ACCEPTED.get(key_of(name)) == "id" for name in columns):
            are_names = all(self.stems) and len({stem.casefold() for stem in self.stems}) == len(rows)
            ids = self.stems if are_names else [f"{number:05}" for number in range(len(rows))]
            columns, rows = ["id", *columns], [{"id": name, **row} for name, row in zip(ids, rows, strict=True)]
        with (self.folder / TABLE).open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def _rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """One after the other. Raises ValueError and OSError for what is no Parquet file."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MachineError(
            "Parquet files need the package pyarrow, which is not installed",
            remedy="for the container add `pyarrow` to stages/ingest/requirements.txt; or export the stacks as files",
            value=SUFFIX,
        ) from error
    with parquet.ParquetFile(file) as opened:
        meta = opened.metadata
        largest = max((meta.row_group(number).total_byte_size for number in range(meta.num_row_groups)), default=0)
        refuse_large(2 * largest, largest, file)  # a row group, packed and unpacked
        for batch in opened.iter_batches(batch_size=1):
            yield from batch.to_pylist()


def _text(value: Any) -> str:
    """What a cell of a table says: nothing for NaN, by which programs mean a missing number."""
    is_missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if is_missing or isinstance(value, (dict, list, bytes)) else str(value)


def _content(value: Any) -> tuple[bytes | None, str]:
    """The bytes of a file in a cell, and its name if that is told; None for a cell of another kind."""
    if isinstance(value, dict):
        content, path = value.get("bytes"), value.get("path")
        return (content if isinstance(content, bytes) else None), path if isinstance(path, str) else ""
    return (value, "") if isinstance(value, bytes) else (None, "")


def _stem(path: str) -> str:
    name = posixpath.basename(path.replace("\\", "/"))
    suffix = suffix_of(name)
    return name[: -len(suffix)] if suffix else posixpath.splitext(name)[0]
