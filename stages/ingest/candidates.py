"""A volume that the source offers, before anything of it was read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stages.common.imaging.zyx import PartialSpacing


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """`image` and `label` are paths in the source. Where `spacing_um` (z, y, x) is None, the image's header decides.

    `reasons` says why it cannot be a volume, as far as the table or the file names tell; `warnings` what was done to
    make it one. `origin` is where the source names it, such as "line 3 of dataset.csv".
    """

    id: str
    group: str
    image: str
    label: str
    spacing_um: PartialSpacing | None
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceContent:
    """What a source offers: its volumes, remarks on the set, and the values of labels by the name of their class."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()
    label_values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
