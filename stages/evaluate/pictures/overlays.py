"""metrics/overlays: best, median and worst volume of the best loss as pictures. Equal results give equal bytes."""

import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.common.atomic import atomic_write
from stages.common.metrics import METRICS
from stages.evaluate.row import Row
from stages.evaluate.statistics.summary import Summary
from stages.evaluate.views import Bytes, View

FOLDER = "overlays"
INDEX = "overlays.json"
PANELS = ("image", "label", "prediction", "error")
GREYS = 64  # a palette of 256 holds them plain and under three tints
# sky blue, yellow and vermilion of Okabe & Ito (2008), told apart with every kind of colour vision
RIGHT_RGB, MISSED_RGB, EXCESS_RGB = (86, 180, 233), (240, 228, 66), (213, 94, 0)
HATCH_PIXELS = 8  # from line to line, where nobody labelled
TINT = 0.55  # share of the colour; the rest is the image beneath


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A volume that is shown, and as what."""

    rank: str  # best | median | worst
    metric: str  # by which
    row: Row


def choose(rows: list[Row], summary: Summary) -> list[Choice]:
    """Best, median (the lower one of two) and worst volume of the loss with the best mean, by the first metric.

    Of equals the earlier in params.yaml (losses) or by fold and id (volumes) counts as better. A volume is shown once:
    two volumes are best and worst, a single one is the best.
    """
    metric = METRICS[next(iter(next(iter(summary.values()))))]
    sign = 1 if metric.less_is_better else -1
    loss = min(summary, key=lambda name: _order(summary[name][metric.name].mean, sign))  # the first of equals
    ordered = sorted(
        (row for row in rows if row.loss == loss),
        key=lambda row: (sign * row.measurement.values[metric.name], row.fold, row.id),
    )
    places = {"best": 0, "median": len(ordered) // 2, "worst": len(ordered) - 1}
    if len(ordered) < 3:
        places.pop("median")
    if len(ordered) < 2:
        places.pop("worst")
    return [Choice(rank=rank, metric=metric.name, row=ordered[place]) for rank, place in places.items()]


def _order(mean: float | None, sign: int) -> float:
    """Low for a good mean; a loss that was measured in no volume comes last."""
    return math.inf if mean is None else sign * mean


def write_overlays(folder: Path, choices: list[Choice]) -> None:
    """Write `folder`/overlays/<rank>_<view>_<n>_<panel>.png and `folder`/overlays.json, which says what they show."""
    entries = []
    for choice in choices:
        pictures = dict(_pictures(choice))
        for name, content in pictures.items():
            with atomic_write(folder / FOLDER / name) as stream:
                stream.write(content)
        entries.append(_entry(choice, list(pictures)))
    with atomic_write(folder / INDEX) as stream:
        stream.write(json.dumps(entries, indent=2, ensure_ascii=False).encode() + b"\n")


def _entry(choice: Choice, pictures: list[str]) -> dict[str, Any]:
    row = choice.row
    return {
        "rank": choice.rank,
        "loss": row.loss,
        "fold": row.fold,
        "id": row.id,
        "metric": choice.metric,
        "value": row.measurement.values[choice.metric],
        "slice_z": row.views.slice_z,
        "depth": row.views.depth,
        "sides_um": row.views.sides_um,
        "pictures": pictures,
    } | ({"labelled_share": share} if (share := row.measurement.labelled_share) < 1 else {})


def _pictures(choice: Choice) -> Iterator[tuple[str, bytes]]:
    for name, view in (("slice", choice.row.views.slice), ("projection", choice.row.views.projection)):
        for number, (panel, tints) in enumerate(_panels(view), start=1):
            grey = view.grey if panel == "image" or view.unlabelled is None else hatched(view.grey, view.unlabelled)
            yield f"{choice.rank}_{name}_{number}_{panel}.png", to_png(grey, tints)


def hatched(grey: Bytes, where: NDArray[np.bool_]) -> Bytes:
    """`grey` with bright oblique lines `where` (y, x) nobody labelled."""
    height, width = grey.shape
    on_line = (np.arange(height)[:, None] + np.arange(width)) % HATCH_PIXELS == 0
    lined: Bytes = np.where(where & on_line, np.uint8(255), grey)
    return lined


def _panels(view: View) -> Iterator[tuple[str, Bytes]]:
    """For each panel the tint of each pixel: 0 none, else one of MISSED, EXCESS, RIGHT (views.py)."""
    right = np.uint8(3)
    tints = (np.zeros_like(view.grey), view.label * right, view.prediction * right, view.error)
    yield from zip(PANELS, tints, strict=True)


def to_png(grey: Bytes, tints: Bytes) -> bytes:
    """An 8-bit PNG with a palette: a quarter of the size of RGB, and smaller than its number of pixels."""
    picture = Image.fromarray(tints * np.uint8(GREYS) + grey // np.uint8(256 // GREYS))
    picture.putpalette(_palette().tobytes())
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=9)
    return stream.getvalue()


def _palette() -> NDArray[np.uint8]:
    """256 colours: GREYS levels plain, then under the tint of MISSED, of EXCESS and of RIGHT."""
    level = np.linspace(0, 255, GREYS)[:, None]
    tinted = [TINT * np.array(rgb) + (1 - TINT) * level for rgb in (MISSED_RGB, EXCESS_RGB, RIGHT_RGB)]
    palette: NDArray[np.uint8] = np.rint(np.concatenate([np.repeat(level, 3, axis=1), *tinted])).astype(np.uint8)
    return palette
