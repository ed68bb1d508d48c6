"""Where the first voxel of a level of an OME-Zarr image is, as far as its metadata say so."""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.common.imaging.formats.header import micrometres, number
from stages.common.imaging.zyx import Spacing


def start_um(image: Mapping[str, Any], dataset: Mapping[str, Any], axes: str) -> Spacing | None:
    """The place (z, y, x; µm) of the first voxel of `dataset`, one of the levels of `image` with these `axes`.

    None where no translation is given, or no unit of length. Those of the image follow those of the level.
    """
    given = [*_steps(dataset), *_steps(image)]
    if not any(kind == "translation" for kind, _ in given) or any(len(values) != len(axes) for _, values in given):
        return None
    place = [0.0] * len(axes)
    for kind, values in given:
        place = [at * by if kind == "scale" else at + by for at, by in zip(place, values, strict=True)]
    listed = image.get("axes")
    units = (
        [axis.get("unit") if isinstance(axis, dict) else None for axis in listed] if isinstance(listed, list) else []
    )
    scales = [micrometres(str(unit)) for unit in units]
    if len(scales) != len(axes) or any(letter not in axes or scales[axes.index(letter)] is None for letter in "zyx"):
        return None
    z, y, x = (place[axes.index(letter)] * (scales[axes.index(letter)] or 0.0) for letter in "zyx")
    return z, y, x


def _steps(what: Mapping[str, Any]) -> list[tuple[str, Sequence[float]]]:
    """The scales and translations of `what`, in their order; numbers that are none are left out."""
    found: list[tuple[str, Sequence[float]]] = []
    for step in what.get("coordinateTransformations") or ():
        kind = step.get("type") if isinstance(step, dict) else None
        if kind in ("scale", "translation"):
            values = step.get(kind)
            numbers = [number(value) for value in values] if isinstance(values, list) else []
            found.append((str(kind), [value for value in numbers if value is not None]))
    return found
