"""What predict is asked to do: files, models and wishes, as its command line says."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.common.imaging.grid import Spacing


@dataclass(frozen=True, kw_only=True)
class Order:
    """One stack to segment. `cards` are files, `model` is a reference to the registry: one of the two is given.

    `probability` and `picture` are files to write beside `mask`, None: not wanted. `spacing_um` is z, y, x, or None
    where the file's own counts.
    """

    image: Path
    mask: Path
    cards: tuple[Path, ...]
    model: str | None
    spacing_um: Spacing | None
    probability: Path | None
    picture: Path | None


def read_order(arguments: Sequence[str] | None = None) -> Order:
    """The order in `arguments`, by default those of this process."""
    parser = argparse.ArgumentParser(prog="python -m stages.predict")
    parser.add_argument("image", type=Path)
    parser.add_argument("mask", type=Path)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--card", type=Path, action="append", default=[], help="a model card; several: an ensemble")
    chosen.add_argument("--model", help="NAME, NAME@ALIAS or NAME/VERSION in the registry")
    parser.add_argument("--spacing-um", type=float, nargs=3, metavar=("Z", "Y", "X"))
    parser.add_argument("--probability", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args(arguments)
    return Order(
        image=given.image,
        mask=given.mask,
        cards=tuple(given.card),
        model=given.model,
        spacing_um=tuple(given.spacing_um) if given.spacing_um else None,
        probability=given.probability,
        picture=given.picture,
    )
