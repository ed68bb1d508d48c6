"""What was found about every volume: the tables in data/raw, and the one error that names all that failed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.common.atomic import atomic_write
from stages.common.errors import DataError
from stages.common.imaging.labels.rule import Number
from stages.common.imaging.zyx import Spacing
from stages.common.text import as_csv, counted, percent, visible
from stages.ingest.checks import ImageFacts, LabelFacts
from stages.ingest.labels import values as label_values
from stages.ingest.labels.grid import SETTING

TABLE = "volumes.csv"
REPORT = "validation.json"
_LISTED = 8  # failing volumes that one screen shows, each on up to two lines
_LINE = 150  # characters of a reason that it shows


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A volume that landed in data/raw. `image` and `label` are paths relative to data/raw."""

    id: str
    group: str
    image: str
    label: str
    image_sha256: str
    label_sha256: str
    spacing_um: Spacing
    image_facts: ImageFacts
    label_facts: LabelFacts

    def row(self) -> dict[str, object]:
        """The row of volumes.csv."""
        shape, spacing = self.image_facts.shape_zyx, self.spacing_um
        return {
            "id": self.id,
            "group": self.group,
            "image": self.image,
            "label": self.label,
            **{f"shape_{axis}": shape[i] for i, axis in enumerate("zyx")},
            **{f"spacing_{axis}_um": spacing[i] for i, axis in enumerate("zyx")},
            "dtype": self.image_facts.dtype,
            "image_sha256": self.image_sha256,
            "label_sha256": self.label_sha256,
            "label_foreground_value": _exact(self.label_facts.foreground_value),
        }


@dataclass(frozen=True, kw_only=True)
class VolumeFacts:
    """What is known of a volume, valid or not: None if it could not be found out."""

    shape_zyx: tuple[int, int, int] | None = None
    spacing_um: Spacing | None = None
    spacing_source: str | None = None
    foreground_share: float | None = None  # of the labelled voxels
    labelled_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Valid with a stack, or invalid with reasons. Its texts quote the source, but hold no hidden character."""

    id: str
    stack: Stack | None
    facts: VolumeFacts
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        """Escape what names and metadata of files hide."""
        object.__setattr__(self, "id", visible(self.id))
        object.__setattr__(self, "reasons", tuple(map(visible, self.reasons)))
        object.__setattr__(self, "warnings", tuple(map(visible, self.warnings)))

    @property
    def text(self) -> str:
        """One line for the log."""
        notes = "".join(f"; note: {warning}" for warning in self.warnings)
        if self.stack is None:
            return f"INVALID: {'; '.join(self.reasons)}{notes}"
        shape = " × ".join(map(str, self.stack.image_facts.shape_zyx))
        spacing = " × ".join(f"{value:g}" for value in self.stack.spacing_um)
        share, labelled = self.stack.label_facts.foreground_share, self.stack.label_facts.labelled_share
        part = "" if labelled == 1 else f" in the {percent(labelled)} that are labelled"
        vessel = f"{percent(share)} foreground{part}"
        return f"{shape} voxels of {spacing} µm ({self.facts.spacing_source}), {vessel}, valid{notes}"


def write_tables(raw: Path, verdicts: Sequence[Verdict], source: str, notes: Sequence[str]) -> None:
    """Write volumes.csv (valid volumes) and validation.json (all of them, and `notes` on the set)."""
    rows = [verdict.stack.row() for verdict in verdicts if verdict.stack is not None]
    report = {"source": visible(source), "notes": list(notes), "volumes": [_entry(verdict) for verdict in verdicts]}
    with atomic_write(raw / REPORT) as stream:
        stream.write(json.dumps(report, indent=2, ensure_ascii=False).encode() + b"\n")
    with atomic_write(raw / TABLE) as stream:
        stream.write(as_csv(list(rows[0]), rows))


def _entry(verdict: Verdict) -> dict[str, object]:
    return {
        "id": verdict.id,
        "verdict": "invalid" if verdict.stack is None else "valid",
        "reasons": list(verdict.reasons),
        "warnings": list(verdict.warnings),
        **asdict(verdict.facts),
    }


def refuse(failing: Sequence[Verdict], total: int, source: str, *, may_skip: bool) -> DataError:
    """The error that names every failing volume, as far as a screen goes."""
    lines = [f"{len(failing)} of {counted(total, 'volume')} {'is' if len(failing) == 1 else 'are'} invalid"]
    lines += [f"    {verdict.id}: {_short('; '.join(verdict.reasons))}" for verdict in failing[:_LISTED]]
    if len(failing) > _LISTED:
        lines.append(f"    … and {len(failing) - _LISTED} more; each has a line in the output above")
    skip = ", or set ingest.on_invalid: skip in params.yaml to continue without them" if may_skip else ""
    is_misplaced = any(SETTING in reason for verdict in failing for reason in verdict.reasons)
    voxels = f", or set {SETTING} where a label's voxels are right in spite of its header" if is_misplaced else ""
    is_unclear = any(f"{label_values.SETTING}:" in reason for verdict in failing for reason in verdict.reasons)
    meaning = f", or say in {label_values.SETTING} what the values mean (docs/labels.md)" if is_unclear else ""
    return DataError("\n".join(lines), remedy=f"correct or remove them{meaning}{voxels}{skip}", file=source)


def _exact(value: Number | None) -> str:
    return "" if value is None else repr(value)


def _short(text: str) -> str:
    return text if len(text) <= _LINE else f"{text[: _LINE - 1]}…"
