"""Which volumes a source offers: by its table, or by the names of its folders and files."""

from collections.abc import Sequence
from pathlib import Path

from stages.common.dataset.columns import COLUMNS
from stages.common.dataset.ids import clashes, fault_of, mapping_note, others_of, safe_id
from stages.common.dataset.layouts import READ, NoLayout, find_layout
from stages.common.dataset.nnunet import LABELS, MAX_META_BYTES, META, Meanings, read_meanings
from stages.common.dataset.pairing import Pair
from stages.common.errors import DataError
from stages.common.text import visible
from stages.ingest.candidates import Candidate, SourceContent
from stages.ingest.sources.source import Source
from stages.ingest.table import read_table

_TABLES = ("dataset.csv", "dataset.tsv")
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")


def list_candidates(source: Source, scratch: Path) -> SourceContent:
    """The volumes of `source`, in the table's order or sorted by name.

    Raises DataError when there is neither a table nor a known layout, or the table cannot be used.
    """
    table, note = _table_of(source)
    if table is None:
        return layout_candidates(source, scratch)
    copy = scratch / "table.csv"
    source.fetch(table, copy)
    shown = source.shown if source.shown.endswith(f"/{table}") else f"{source.shown}/{table}"
    offer = read_table(copy, shown, source.names)
    meanings, notes = _meanings(source, _meta_of(source, offer.candidates), scratch)
    said = (*((note,) if note else ()), *offer.notes, *notes)
    return SourceContent(candidates=offer.candidates, notes=said, label_values=meanings.labels)


def _meta_of(source: Source, candidates: Sequence[Candidate]) -> str:
    """The file that says what labels mean, where the table names those of an nnU-Net set; "" for any other table."""
    folders = {candidate.label.partition("/")[0].casefold() for candidate in candidates}
    return META if folders == {LABELS.casefold()} and META in source.names("") else ""


def _table_of(source: Source) -> tuple[str | None, str]:
    """The source's table, and a remark where it is called otherwise."""
    if source.table is not None:
        return source.table, ""
    found = [name for name in source.names("") if name.casefold() in _TABLES]
    if len(found) > 1:
        raise DataError(
            f"the source holds several tables: {', '.join(found)}", remedy="keep one, as dataset.csv", file=source.shown
        )
    return (found[0], f"{found[0]} is read as the table; its usual name is dataset.csv") if found else (None, "")


def layout_candidates(source: Source, scratch: Path) -> SourceContent:
    """The volumes of `source` by its folders. DataError if they are of no known layout."""
    layout = find_layout(source.names)
    if isinstance(layout, NoLayout):
        raise _unknown(source, layout)
    meanings, notes = _meanings(source, layout.meta, scratch)
    candidates = _candidates(layout.pairs)
    said = (f"no dataset.csv: the layout is {layout.name}", *layout.notes, *notes)
    return SourceContent(candidates=candidates, notes=said, label_values=meanings.labels)


def _unknown(source: Source, layout: NoLayout) -> DataError:
    sheet = next((name for name in source.names("") if name.lower().endswith(_SPREADSHEETS)), None)
    save = f"save {sheet} as dataset.csv, or " if sheet is not None else ""
    return DataError(
        f"the source has neither a dataset.csv nor a known layout: {READ}",
        remedy=f"{save}write a dataset.csv with the columns {','.join(COLUMNS)} (docs/datasets.md)",
        file=source.shown,
        value=visible(layout.found),
    )


def _meanings(source: Source, meta: str, scratch: Path) -> tuple[Meanings, tuple[str, ...]]:
    """What the set's own file `meta` says of labels, and remarks on it. A set can be read without."""
    unknown = Meanings(labels={}, channels={})
    if not meta:
        return unknown, ()
    copy = scratch / "meta.json"
    try:
        source.fetch(meta, copy)
        if copy.stat().st_size > MAX_META_BYTES:
            raise ValueError(f"it has {copy.stat().st_size:,} bytes, the limit is {MAX_META_BYTES:,}")
        meanings = read_meanings(copy.read_bytes())
    except (DataError, ValueError) as error:
        return unknown, (f"{meta} is not used: {error}",)
    return meanings, meanings.notes()


def _candidates(pairs: Sequence[Pair]) -> tuple[Candidate, ...]:
    shared = clashes([pair.name for pair in pairs])
    found = []
    for at, pair in enumerate(pairs):
        others = tuple(pairs[other].name for other in others_of(at, shared.get(at, ())))
        found.append(_candidate(pair, others))
    return tuple(found)


def _candidate(pair: Pair, others: Sequence[str]) -> Candidate:
    fault = fault_of(pair.name)
    note = "" if fault else mapping_note(pair.name)
    reasons = list(pair.faults)
    if fault:
        reasons.append(f"its name {pair.name!r} {fault}: rename its files")
    if others:
        listed = ", ".join(repr(name) for name in others)
        reasons.append(f"its name {pair.name!r} is the same folder, {safe_id(pair.name)}, as that of {listed}")
    name = repr(pair.name) if fault else safe_id(pair.name)
    return Candidate(
        id=name,
        group=name,
        image="" if "image" in pair.unsure else pair.image,
        label="" if "label" in pair.unsure else pair.label,
        spacing_um=None,
        reasons=tuple(reasons),
        warnings=(*((note,) if note else ()), *pair.notes),
    )
