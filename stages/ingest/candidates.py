"""A volume that the source offers, before anything of it was read."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """`image` and `label` are paths in the source. Without `spacing_um` (z, y, x) the image's header decides.

    `reasons` says why it cannot be a volume, as far as the table or the file names tell.
    """

    id: str
    group: str
    image: str
    label: str
    spacing_um: tuple[float, float, float] | None
    reasons: tuple[str, ...] = ()
