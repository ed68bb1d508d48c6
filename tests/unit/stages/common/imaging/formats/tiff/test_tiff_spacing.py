"""Spacing from the header of a TIFF: OME metadata, ImageJ's calibration, tifffile's own, resolution tags."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stages.common.imaging.spacing import HeaderSpacing, spacing_of
from stages.common.imaging.zyx import Spacing
from tests.support.stacks.plain import read_header
from tests.support.stacks.small import STACK, save_tiff

TRUE_UM = (5.0, 0.9, 1.1)
INCH, CM = 25_400.0, 10_000.0


def told(file: Path) -> HeaderSpacing:
    return spacing_of(read_header(file))


def imagej(file: Path, described: dict[str, Any], pixel_xy: tuple[float, float] = (1.1, 0.9), **how: Any) -> Path:
    """A file of ImageJ's kind; `pixel_xy` is the length of a pixel in the unit of `described`."""
    resolution = (1 / pixel_xy[0], 1 / pixel_xy[1])
    return save_tiff(file, STACK, imagej=True, resolution=resolution, metadata={"axes": "ZYX", **described}, **how)


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        *[(unit, 1.0) for unit in ("micron", "Micron", "MICRON", "microns", "um", "UM", "\\u00B5m", "micrometer")],
        *[(unit, 1e-3) for unit in ("nm", "nanometers")],
        *[(unit, 1e3) for unit in ("mm", "MM", "millimeter")],
        *[(unit, CM) for unit in ("cm", "centimeter")],
        *[(unit, INCH) for unit in ("inch", "inches", "in")],
        *[(unit, 1e6) for unit in ("m", "meter")],
        *[(unit, 1e-4) for unit in ("\\u00C5", "angstrom", "Angstrom")],
    ],
)
def test_every_unit_of_length_counts(tmp_path: Path, unit: str, um: float) -> None:
    """In large letters or small, by its sign or its name."""
    file = imagej(tmp_path / "a.tif", {"unit": unit, "spacing": 5.0 / um}, (1.1 / um, 0.9 / um))
    found = told(file)
    assert found.spacing_um == pytest.approx(TRUE_UM, rel=1e-4)
    assert (found.source, found.warnings) == ("ImageJ calibration", ())


@pytest.mark.parametrize(
    ("described", "spacing_um", "says"),
    [
        ({"unit": "micron", "spacing": 5000.0, "zunit": "nm"}, TRUE_UM, ""),
        ({"unit": "micron", "spacing": 0.05, "zunit": "mm"}, (50.0, 0.9, 1.1), ""),
        ({"unit": "micron", "spacing": 5.0, "zunit": "pixel"}, None, "unit of z is 'pixel'"),
        ({"unit": "micron", "spacing": -5.0}, TRUE_UM, "negative (-5 micron)"),
        ({"unit": "micron"}, (1.0, 0.9, 1.1), "taken as 1 micron"),
        ({"unit": "micron", "spacing": "wide"}, None, "'wide'"),
        ({"unit": "micron", "spacing": "nan"}, None, "nan"),
        ({"unit": "pixel", "spacing": 5.0}, None, "no pixel size in a unit of length"),
        ({"spacing": 5.0}, None, "no pixel size in a unit of length"),
        ({"unit": "micron", "spacing": 0.0}, None, "outside 0.01 to 100 µm"),
    ],
    ids=["z_nm", "z_mm", "z_pixel", "negative", "depth_1", "text", "nan", "pixel", "no_unit", "zero"],
)
def test_imagej_s_depth_has_its_own_rules(
    tmp_path: Path, described: dict[str, Any], spacing_um: Spacing | None, says: str
) -> None:
    """Its own unit; left out where it is 1; negative for a stack from below. Doubts and refusals have reasons."""
    found = told(imagej(tmp_path / "a.tif", described))
    assert found.spacing_um == (spacing_um and pytest.approx(spacing_um, rel=1e-5))
    assert says in "; ".join([found.reason, *found.warnings])
    assert bool(found.reason) is (spacing_um is None)


def test_y_may_have_a_unit_of_its_own(tmp_path: Path) -> None:
    """As ImageJ writes it where it differs from that of x."""
    file = imagej(
        tmp_path / "a.tif", {"unit": "micron", "yunit": "nm", "zunit": "micron", "spacing": 5.0}, (1.1, 900.0)
    )
    assert told(file).spacing_um == pytest.approx(TRUE_UM, rel=1e-5)


def test_a_resolution_of_1_is_doubtful(tmp_path: Path) -> None:
    """It is what tifffile writes where nobody says a resolution."""
    file = save_tiff(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "ZYX", "unit": "um", "spacing": 5.0})
    found = told(file)
    assert found.spacing_um == (5.0, 1.0, 1.0)
    assert "may be the writing program's default" in found.warnings[0]


def test_tifffile_s_own_description_counts(tmp_path: Path) -> None:
    """The metadata that its user gave, with the resolution tags."""
    metadata = {"axes": "ZYX", "spacing": 5.0, "unit": "um"}
    found = told(save_tiff(tmp_path / "a.tif", STACK, resolution=(1 / 1.1, 1 / 0.9), metadata=metadata))
    assert (found.spacing_um, found.source) == (pytest.approx(TRUE_UM), "tifffile metadata")
    del metadata["spacing"]
    found = told(save_tiff(tmp_path / "a.tif", STACK, resolution=(1 / 1.1, 1 / 0.9), metadata=metadata))
    assert found.spacing_um is None
    assert "no distance between slices" in found.reason


@pytest.mark.parametrize(("unit", "um"), [("inch", INCH), ("cm", CM)])
def test_resolution_tags_know_nothing_of_z(tmp_path: Path, unit: str, um: float) -> None:
    """The reason shows what they do say."""
    how = {"resolution": (um / 1.1, um / 0.9), "resolutionunit": "INCH" if unit == "inch" else "CENTIMETER"}
    found = told(save_tiff(tmp_path / "a.tif", STACK, metadata=None, **how))
    assert found.spacing_um is None
    assert "no spacing along z, only resolution tags for y and x (0.9 × 1.1 µm)" in found.reason
    described = {"spacing": 5.0 / um}
    found = told(save_tiff(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "ZYX", **described}, **how))
    assert found.spacing_um == pytest.approx(TRUE_UM, rel=1e-4)


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        ("µm", 1.0),
        ("nm", 1e-3),
        ("mm", 1e3),
        ("cm", CM),
        ("in", INCH),
        ("Å", 1e-4),
        ("m", 1e6),
        ("thou", 25.4),
        ("pm", 1e-6),
    ],
)
def test_each_axis_of_ome_has_its_own_unit(tmp_path: Path, unit: str, um: float) -> None:
    """µm where none is given."""
    metadata = {"PhysicalSizeZ": 5.0, "PhysicalSizeY": 0.9, "PhysicalSizeX": 1.1 / um, "PhysicalSizeXUnit": unit}
    found = told(save_tiff(tmp_path / "a.ome.tif", STACK, metadata={"axes": "ZYX", **metadata}))
    assert (found.spacing_um, found.warnings) == (pytest.approx(TRUE_UM), ())
    assert found.source == "OME PhysicalSize"


@pytest.mark.parametrize("unit", ["pixel", "reference frame"])
def test_a_unit_that_is_not_a_length_gives_no_spacing(tmp_path: Path, unit: str) -> None:
    """Even where the numbers could be µm."""
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", TRUE_UM, strict=True)}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "ZYX"}
    found = told(save_tiff(tmp_path / "a.ome.tif", STACK, metadata={"axes": "ZYX", **sizes, **units}))
    assert (found.spacing_um, found.reason) == (
        None,
        f"the header's spacing 5 × 0.9 × 1.1 {unit} is in no unit of length",
    )


def test_what_ome_leaves_out_is_named(tmp_path: Path) -> None:
    """The axes without a size."""
    sizes = {"PhysicalSizeY": 0.9, "PhysicalSizeX": 1.1}
    found = told(save_tiff(tmp_path / "a.ome.tif", STACK, metadata={"axes": "ZYX", **sizes}))
    assert "PhysicalSizeZ missing" in found.reason


def test_the_spacing_is_that_of_the_largest_level(tmp_path: Path) -> None:
    """Levels of a pyramid have coarser voxels."""
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for factor in (4, 1, 2):
            sizes = {"PhysicalSizeZ": 5.0, "PhysicalSizeY": 0.9 * factor, "PhysicalSizeX": 1.1 * factor}
            level = np.ascontiguousarray(STACK[:, ::factor, ::factor])
            writer.write(level, photometric="minisblack", metadata={"axes": "ZYX", **sizes})
    assert told(tmp_path / "a.ome.tif").spacing_um == TRUE_UM
