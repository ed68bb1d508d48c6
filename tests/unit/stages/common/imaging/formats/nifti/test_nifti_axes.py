"""NIfTI: which axis of the array is z, and which of a header's spacings counts."""

import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.common.imaging.formats.geometry import Geometry, geometry_of
from stages.common.imaging.spacing import HeaderSpacing, spacing_of
from stages.common.imaging.stacks import read_stack
from stages.common.imaging.zyx import Spacing
from tests.support.stacks.plain import read_header, read_shape, read_slices
from tests.support.stacks.small import STACK

nifti: Any = nibabel
TRUE_XYZ = (1.1, 0.9, 5.0)


def save(file: Path, array: NDArray[Any], affine: NDArray[Any], unit: str | None = None, **fields: Any) -> Path:
    """A NIfTI whose header has these `fields`, past what nibabel makes of them."""
    image = nifti.Nifti1Image(array, affine)
    if unit:
        image.header.set_xyzt_units(unit)
    content = image.to_bytes()
    header = nifti.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + content[348:]
    file.write_bytes(gzip.compress(content) if file.name.endswith(".gz") else content)
    return file


def told(file: Path) -> HeaderSpacing:
    return spacing_of(read_header(file))


def turned(order: tuple[int, ...], signs: tuple[int, ...] = (1, 1, 1)) -> NDArray[Any]:
    """The affine of an array whose axis i is axis order[i] of the world (0 is x)."""
    affine = np.eye(4) * 0.0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * TRUE_XYZ[world]
    affine[3, 3] = 1
    return affine


@pytest.mark.parametrize(
    ("b", "c", "qfac", "code", "says"),
    [
        (0.0, 0.0, 1, 1, ["SAR, its qform RAS"]),
        (0.0, 0.5**0.5, 1, 1, ["SAR, its qform IAR"]),
        (0.0, -(0.5**0.5), -1, 1, []),
        (0.0, -(0.5**0.5), 1, 1, ["SAR, its qform SAL"]),
        (0.0, 0.0, 1, 0, []),
        (2.0, 0.0, 1, 1, []),
    ],
)
def test_a_qform_with_other_axes_than_the_sform_is_said(
    tmp_path: Path, b: float, c: float, qfac: int, code: int, says: list[str]
) -> None:
    """Programs differ in which of the two they read: the steps may be equal, and the stack turned."""
    fields = {"qform_code": code, "quatern_b": b, "quatern_c": c, "quatern_d": 0.0}
    pixdim = (qfac, 5, 0.9, 1.1, 1, 1, 1, 1)
    file = save(tmp_path / "a.nii", STACK, turned((2, 1, 0)), unit="micron", pixdim=pixdim, **fields)
    found = [text for text in read_header(file).remarks if "its qform" in text]
    assert len(found) == len(says)
    assert all(text in remark for text, remark in zip(says, found, strict=True))
    np.testing.assert_array_equal(read_stack(file), STACK)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("extra", [(), (None,)], ids=["3D", "4D"])
def test_the_affine_says_which_axis_is_z(
    tmp_path: Path, order: tuple[int, ...], name: str, extra: tuple[None, ...]
) -> None:
    """In any order of the axes: the stack comes out in z, y, x, and so does its spacing."""
    file = save(tmp_path / name, STACK.T.transpose(order)[(..., *extra)], turned(order), unit="micron")
    np.testing.assert_array_equal(read_stack(file), STACK)
    np.testing.assert_array_equal(np.stack(list(read_slices(file))), STACK)
    assert read_shape(file) == STACK.shape
    assert (told(file).spacing_um, told(file).source) == (TRUE_XYZ[::-1], "NIfTI sform")
    assert bool(read_header(file).remarks) is (order != (0, 1, 2))


def test_the_remark_names_the_order_of_the_array(tmp_path: Path) -> None:
    """z first, as an array of numpy is."""
    file = save(tmp_path / "a.nii", STACK, turned((2, 1, 0)), unit="micron")
    assert read_header(file).remarks == (
        "by its sform its array is stored as z, y, x, not as x, y, z, and is read accordingly",
    )


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_directions_do_not_change_the_order(tmp_path: Path, signs: tuple[int, ...]) -> None:
    """A stack is not flipped: image and label are compared with each other, not with the world."""
    file = save(tmp_path / "a.nii", STACK.T, turned((0, 1, 2), signs), unit="micron")
    np.testing.assert_array_equal(read_stack(file), STACK)


def test_an_oblique_array_is_read_by_its_nearest_axes(tmp_path: Path) -> None:
    """Turned by 30° about y."""
    turn = np.eye(4)
    turn[:3, :3] = np.array([[0.866, 0.0, 0.5], [0.0, 1.0, 0.0], [-0.5, 0.0, 0.866]])
    file = save(tmp_path / "a.nii", STACK, turn @ turned((2, 1, 0)), unit="micron")
    np.testing.assert_array_equal(read_stack(file), STACK)
    assert told(file).spacing_um == pytest.approx(TRUE_XYZ[::-1], rel=1e-4)


@pytest.mark.parametrize(
    ("affine", "header", "spacing_um", "source", "says"),
    [
        (
            np.diag([*TRUE_XYZ, 1]),
            {"unit": "micron", "pixdim": [1] * 8},
            (5.0, 0.9, 1.1),
            "NIfTI sform",
            "pixdim 1 × 1 × 1",
        ),
        (
            np.diag([*TRUE_XYZ, 1]),
            {"unit": "micron", "pixdim": [0] * 8},
            (5.0, 0.9, 1.1),
            "NIfTI sform",
            "the sform is used",
        ),
        (
            np.eye(4),
            {"unit": "micron", "pixdim": [1, *TRUE_XYZ, 0, 0, 0, 0]},
            (5.0, 0.9, 1.1),
            "NIfTI pixdim",
            "pixdim is used",
        ),
        (
            np.diag([*TRUE_XYZ, 1]),
            {"unit": "micron", "sform_code": 0, "qform_code": 0},
            (5.0, 0.9, 1.1),
            "NIfTI pixdim",
            "",
        ),
        (
            np.diag([*TRUE_XYZ, 1]),
            {"unit": "micron", "sform_code": 0, "qform_code": 1},
            (5.0, 0.9, 1.1),
            "NIfTI qform",
            "",
        ),
        (np.diag([1.0, 1, 1, 1]), {"unit": "micron"}, (1.0, 1.0, 1.0), "NIfTI pixdim", ""),
        # µm in a header that says mm: SimpleITK always writes mm, with x and y of opposite sign
        (np.diag([-0.07, -0.07, 0.07, 1]), {"unit": "mm"}, (0.07, 0.07, 0.07), "NIfTI sform", "70 × 70 × 70 µm"),
        (np.diag([*TRUE_XYZ, 1]), {"unit": "mm"}, (5.0, 0.9, 1.1), "NIfTI sform", "5000 × 900 × 1100 µm"),
        (np.diag([0.0011, 0.0009, 0.005, 1]), {"unit": "mm"}, (5.0, 0.9, 1.1), "NIfTI sform", ""),
        (np.diag([0.025, 0.025, 0.025, 1]), {"unit": "mm"}, (25.0, 25.0, 25.0), "NIfTI sform", ""),
        # no unit
        (np.diag([0.025, 0.025, 0.025, 1]), {}, (25.0, 25.0, 25.0), "NIfTI sform", "taken as mm"),
        (np.diag([*TRUE_XYZ, 1]), {}, (5.0, 0.9, 1.1), "NIfTI sform", "taken as µm"),
    ],
    ids=[
        "pixdim_1",
        "pixdim_0",
        "set_zooms",
        "no_code",
        "qform",
        "isotropic",
        "sitk",
        "mm",
        "true_mm",
        "atlas_mm",
        "atlas",
        "none",
    ],
)
def test_which_spacing_counts(
    tmp_path: Path, affine: NDArray[Any], header: dict[str, Any], spacing_um: Spacing, source: str, says: str
) -> None:
    """The affine where it says something, else pixdim; a unit that cannot be true is not believed. Doubts are told."""
    found = told(save(tmp_path / "a.nii.gz", STACK.T, affine, **header))
    assert (found.spacing_um, found.source) == (pytest.approx(spacing_um, rel=1e-5), source)
    assert bool(found.warnings) is bool(says)
    assert says in "; ".join(found.warnings)


def test_a_default_header_has_no_spacing(tmp_path: Path) -> None:
    """Identity, 1 × 1 × 1 and no unit: the reason shows how the array is taken, and a table may still be right."""
    found = told(save(tmp_path / "a.nii", STACK, np.eye(4)))
    assert found.spacing_um is None
    assert "its array is taken as x, y, z, giving 33 × 40 × 6 voxels in z, y, x" in found.reason
    assert found.warnings == (found.reason,)


NO_USE = pytest.mark.parametrize(
    "affine",
    [np.full((3, 4), np.nan), np.zeros((3, 4)), [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]], [[np.inf, 0, 0, 0]] * 3],
    ids=["nan", "zero", "singular", "inf"],
)


@NO_USE
def test_the_qform_counts_where_the_sform_is_of_no_use(tmp_path: Path, affine: Any) -> None:
    """It says that the array stores z first."""
    rows = {f"srow_{axis}": row for axis, row in zip("xyz", affine, strict=True)}
    file = save(tmp_path / "a.nii", STACK, turned((2, 1, 0)), unit="micron", sform_code=1, qform_code=1, **rows)
    np.testing.assert_array_equal(read_stack(file), STACK)
    assert (told(file).spacing_um, told(file).source) == (TRUE_XYZ[::-1], "NIfTI qform")


@NO_USE
def test_an_affine_of_no_use_says_nothing(tmp_path: Path, affine: Any) -> None:
    """The array is in x, y, z and pixdim is its spacing."""
    rows = {f"srow_{axis}": row for axis, row in zip("xyz", affine, strict=True)}
    file = save(tmp_path / "a.nii", STACK.T, np.diag([*TRUE_XYZ, 1]), unit="micron", qform_code=0, **rows)
    np.testing.assert_array_equal(read_stack(file), STACK)
    assert (told(file).spacing_um, told(file).source) == (TRUE_XYZ[::-1], "NIfTI pixdim")


@pytest.mark.parametrize("codes", [(0, 0), (0, 1)], ids=["no_code", "qform"])
@pytest.mark.parametrize("unit", ["micron", None])
@pytest.mark.parametrize(("pixdim_xyz", "axes"), [((1.1, 0.9, 0.0), "z"), ((0.0, 0.0, 0.0), "z, y, x")])
def test_a_step_of_0_is_none(
    tmp_path: Path, codes: tuple[int, int], unit: str | None, pixdim_xyz: Spacing, axes: str
) -> None:
    """nibabel makes 1 of it, which would be 1 µm; no affine says more."""
    sform, qform = codes
    header = {"pixdim": [1, *pixdim_xyz, 0, 0, 0, 0], "sform_code": sform, "qform_code": qform}
    for name in ("a.nii", "a.nii.gz"):
        found = told(save(tmp_path / name, STACK.T, np.diag([*TRUE_XYZ, 1]), unit=unit, **header))
        assert found.spacing_um is None
        assert f"gives no step along {axes} (0 in the header)" in found.reason


def _geometry(affine: NDArray[Any], unit: str | None = "micron") -> Geometry:
    image = nifti.Nifti1Image(STACK.T, affine)
    if unit:
        image.header.set_xyzt_units(unit)
    return geometry_of(image)


def test_a_geometry_in_words() -> None:
    """The first voxel, the steps along the array's axes, and where those point."""
    affine = turned((2, 1, 0), (1, -1, 1))
    affine[:3, 3] = 3, 0.25, -7
    assert _geometry(affine).text == "from (3, 0.25, -7) by 5 × 0.9 × 1.1 µm SPR"
    assert _geometry(affine, "mm").text == "from (3, 0.25, -7) by 5 × 0.9 × 1.1 mm SPR"
    assert _geometry(affine, None).text == "from (3, 0.25, -7) by 5 × 0.9 × 1.1 SPR"


def test_defaults_are_known_as_such() -> None:
    """1 × 1 × 1 from the origin, as nibabel and as SimpleITK write it."""
    assert _geometry(np.eye(4)).is_default
    assert _geometry(np.diag([-1.0, -1, 1, 1])).is_default
    shifted = np.eye(4)
    shifted[2, 3] = 1
    assert not _geometry(shifted).is_default
    assert not _geometry(np.diag([1.0, 1, 2, 1])).is_default


@pytest.mark.parametrize(
    ("steps_xyz", "is_doubtful"),
    [((5.0, 0.9, 0.9), True), ((0.9, 0.9, 5.0), False), ((0.9, 0.9, 0.9), False), ((5.0, 0.9, 1.1), False)],
)
def test_an_array_whose_x_alone_is_coarse_is_doubtful(
    tmp_path: Path, steps_xyz: tuple[float, ...], is_doubtful: bool
) -> None:
    """nibabel's user saves an array with z first, and the spacing in its order: the stack is turned."""
    file = save(tmp_path / "a.nii", STACK.T, np.diag([*steps_xyz, 1.0]), "micron")
    said = [remark for remark in read_header(file).remarks if "was saved as z, y, x looks the same" in remark]
    assert bool(said) is is_doubtful
