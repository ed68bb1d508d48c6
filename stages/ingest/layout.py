"""Which volumes a source offers: by its table, or by MiniVess' file names."""

from pathlib import Path

from stages.common.errors import DataError
from stages.common.imaging.suffixes import NIFTI_SUFFIXES
from stages.ingest.candidates import Candidate
from stages.ingest.sources.source import Source
from stages.ingest.table import COLUMNS, is_safe_id, read_table

IMAGES, LABELS = "raw", "seg"
_MARK = "_y"  # mv01.nii.gz is labelled by mv01_y.nii.gz


def list_candidates(source: Source, scratch: Path) -> list[Candidate]:
    """The volumes of `source`, in the table's order or sorted by name.

    Raises DataError when there is neither a table nor MiniVess' folders, or the table cannot be used.
    """
    if source.table is not None:
        copy = scratch / "table.csv"
        source.fetch(source.table, copy)
        shown = source.shown if source.shown.endswith(f"/{source.table}") else f"{source.shown}/{source.table}"
        return read_table(copy, shown)
    images, labels = (_stems(source.names(folder)) for folder in (IMAGES, LABELS))
    if not images:
        raise DataError(
            "the source holds neither dataset.csv nor MiniVess' folders (raw/*.nii.gz, seg/*_y.nii.gz)",
            remedy=f"write a dataset.csv with the columns {','.join(COLUMNS)}, paths relative to it",
            file=source.shown,
            value=_some(source.names("")),
        )
    return _minivess(images, labels)


def _stems(names: list[str]) -> dict[str, str]:
    """NIfTI files by their names without suffix."""
    found = {}
    for name in names:
        suffix = next((suffix for suffix in NIFTI_SUFFIXES if name.lower().endswith(suffix)), None)
        if suffix is not None:
            found[name[: -len(suffix)]] = name
    return found


def _minivess(images: dict[str, str], labels: dict[str, str]) -> list[Candidate]:
    ids = images.keys() | {stem.removesuffix(_MARK) for stem in labels}
    return [_pair(name, images.get(name), labels.get(name + _MARK)) for name in sorted(ids)]


def _pair(name: str, image: str | None, label: str | None) -> Candidate:
    reasons = []
    if not is_safe_id(name):
        reasons.append(f"its file name {name!r} cannot name a folder (use letters, digits, . _ -)")
    if image is None:
        reasons.append(f"its image {IMAGES}/{name}.nii.gz is missing")
    if label is None:
        reasons.append(f"its label {LABELS}/{name}{_MARK}.nii.gz is missing")
    return Candidate(
        id=name if is_safe_id(name) else repr(name),
        group=name,
        image=f"{IMAGES}/{image}",
        label=f"{LABELS}/{label}",
        spacing_um=None,
        reasons=tuple(reasons),
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return shown or "an empty folder"
