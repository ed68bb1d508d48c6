"""What a TIFF says about its spacing: OME metadata, ImageJ's and tifffile's descriptions, resolution tags."""

import json
import re
from collections.abc import Mapping
from typing import Any

import tifffile

from stages.common.imaging.formats.header import SINGLE, SpacingEvidence, StackHeader, micrometres, number, precise
from stages.common.imaging.formats.tiff.ome import OmeImage, spacing_evidence
from stages.common.imaging.formats.tiff.stack import TiffStack

_RESOLUTION_UNITS = {tifffile.RESUNIT.INCH: "inch", tifffile.RESUNIT.CENTIMETER: "cm"}
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_PALETTE = "the file has a palette; its voxels are read as numbers, whatever colours they stand for"
TURNED = "the file's Orientation is {}, by which some programs flip or turn its slices; they are read as stored"
INVERTED = "the file stores white as 0 (WhiteIsZero); its values are inverted on reading"


def tiff_header(stack: TiffStack) -> StackHeader:
    """Axes, spacing and remarks of `stack`."""
    pyramid = f"the file holds a pyramid; the full resolution is read, not the {stack.smaller} coarser level(s)"
    is_palette = stack.series.keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE
    orientation = orientation_of(stack.series.keyframe)
    facts = (
        (orientation != 1, TURNED.format(orientation)),
        (is_palette, _PALETTE),
        (stack.is_inverted, INVERTED),
        (stack.shape[0] == 1, SINGLE),
        (stack.smaller > 0, pyramid),
    )
    return StackHeader(
        axes=stack.planes.axes,
        spacing=evidence_in(stack.tiff, stack.series, stack.ome),
        is_inverted=stack.is_inverted,
        orientation=orientation,
        channels=stack.planes.channels,
        remarks=tuple(text for is_true, text in facts if is_true),
    )


def evidence_in(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, ome: OmeImage | None) -> SpacingEvidence:
    """What `tiff` says of the spacing of `series`, which `ome` describes in a file with OME metadata."""
    if tiff.ome_metadata:
        return spacing_evidence(ome)
    if tiff.is_lsm:
        return _lsm(tiff.lsm_metadata or {})
    if tiff.is_imagej:
        return _calibration(series, tiff.imagej_metadata or {}, "ImageJ calibration")
    shaped = _json_description(series.keyframe)
    if "spacing" in shaped or "unit" in shaped:
        return _calibration(series, shaped, "tifffile metadata")
    return _resolution_only(series.keyframe)


def _lsm(described: Mapping[str, Any]) -> SpacingEvidence:
    """Zeiss' own header: sizes in metres, 0 where they are unknown."""
    z, y, x = (number(described.get(f"VoxelSize{axis}")) or 0.0 for axis in "ZYX")
    if min(z, y, x) <= 0:
        return SpacingEvidence(numbers_zyx=None, missing="its LSM header gives no size of a voxel along z, y and x")
    return SpacingEvidence(numbers_zyx=(z, y, x), units_zyx=("m",) * 3, source="LSM VoxelSize")


def _json_description(page: tifffile.TiffPage) -> dict[str, Any]:
    """What tifffile writes into a plain TIFF, with the fields that its user added."""
    try:
        described = json.loads(page.description)
    except ValueError:
        return {}
    return described if isinstance(described, dict) else {}


def _calibration(series: tifffile.TiffPageSeries, described: Mapping[str, Any], source: str) -> SpacingEvidence:
    """Depth of a voxel from the description, pixels per unit from the tags. y and z may have their own units.

    Without a unit of length there is no spacing: ImageJ gives every image a resolution of 1 pixel per "pixel".
    """
    page = series.keyframe
    units_zyx = _units(described, page)
    y, x = (_pixel_size(page, axis) for axis in "YX")
    if y is None or x is None or any(micrometres(unit) is None for unit in units_zyx[1:]):
        return SpacingEvidence(numbers_zyx=None, missing=f"its {source} gives no pixel size in a unit of length")
    z, remark = _depth(described, units_zyx[0], is_imagej=source.startswith("ImageJ"))
    remarks = [remark] if remark else []
    if (y, x) == (1.0, 1.0):
        remarks.append(f"x and y of 1 {units_zyx[2]} may be the writing program's default")
    return SpacingEvidence(
        numbers_zyx=None if z is None else (z, y, x),
        units_zyx=units_zyx,
        source=source,
        missing=f"its {source} gives x and y, but {remark}" if z is None else "",
        remarks=() if z is None else tuple(remarks),
    )


def _units(described: Mapping[str, Any], page: tifffile.TiffPage) -> tuple[str, str, str]:
    """Units of z, y and x. Without any in the description, that of the resolution tags."""
    x = _text(described.get("unit", "")) or _RESOLUTION_UNITS.get(_tag(page, "ResolutionUnit"), "")
    return _text(described.get("zunit", x)), _text(described.get("yunit", x)), x


def _depth(described: Mapping[str, Any], unit: str, *, is_imagej: bool) -> tuple[float | None, str]:
    """Distance between slices in `unit`, and a remark; None with the reason."""
    if micrometres(unit) is None:
        return None, f"the unit of z is {unit!r}, which is not a length"
    if "spacing" not in described:
        remark = f"no distance between slices; ImageJ leaves it out where it is 1, so z is taken as 1 {unit}"
        return (1.0, remark) if is_imagej else (None, "no distance between slices")
    depth = number(described["spacing"])
    if depth is None:
        return None, f"the distance between slices is {described['spacing']!r}"
    if depth < 0:
        return -depth, f"the distance between slices is negative ({depth:g} {unit}); it is taken as {-depth:g}"
    return depth, ""


def _resolution_only(page: tifffile.TiffPage) -> SpacingEvidence:
    """A plain TIFF: its tags have no field for the distance between slices."""
    scale = micrometres(_RESOLUTION_UNITS.get(_tag(page, "ResolutionUnit"), ""))
    y, x = (_pixel_size(page, axis) for axis in "YX")
    if scale is None or y is None or x is None:
        return SpacingEvidence(numbers_zyx=None)
    in_plane = f"{precise(y * scale):g} × {precise(x * scale):g} µm"
    missing = f"the header of the image gives no spacing along z, only resolution tags for y and x ({in_plane})"
    return SpacingEvidence(numbers_zyx=None, missing=missing)


def _pixel_size(page: tifffile.TiffPage, axis: str) -> float | None:
    """Length of a pixel in the file's unit; None for a resolution that is absent or 0."""
    match _tag(page, f"{axis}Resolution"):
        case (int(above), int(below)) if above > 0 and below > 0:
            return precise(below / above)
    return None


def _tag(page: tifffile.TiffPage, name: str) -> Any:
    return page.tags[name].value if name in page.tags else None


def orientation_of(page: tifffile.TiffPage) -> int:
    """1 where the tag is absent or means nothing."""
    value = _tag(page, "Orientation")
    return int(value) if isinstance(value, int) and value in range(1, 9) else 1


def _text(unit: Any) -> str:
    """A unit as ImageJ writes it, where µ may be an escape."""
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), str(unit)).strip()
