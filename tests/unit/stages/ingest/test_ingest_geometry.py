"""The whole stage on NIfTI files whose headers differ, and on TIFFs with a scale the other way round."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.labels.rule import BINARY
from stages.common.imaging.stacks import binarise, read_stack
from stages.ingest.ingest import ingest
from stages.ingest.params import Ingest
from tests.unit.stages.ingest.made import (
    SHAPE_ZYX,
    SPACING_UM,
    image_zyx,
    label_zyx,
    make_source,
    row,
    save_tiff,
    write_table,
)

Z, Y, X = SPACING_UM
AFFINE = np.diag([X, Y, Z, 1.0])
SAR = np.array([[0, 0, X, 0], [0, Y, 0, 0], [Z, 0, 0, 0], [0, 0, 0, 1.0]])  # the array's first axis is z
nifti: Any = nibabel


def save(file: Path, array: NDArray[Any], affine: NDArray[Any], unit: str | None = "micron") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = nifti.Nifti1Image(array, affine)
    if unit:
        image.header.set_xyzt_units(unit)
    nifti.save(image, file)
    return file


def run(source: Path, raw: Path, rule: Any = "world", on_invalid: Any = "fail") -> dict[str, Any]:
    """The report that the stage leaves."""
    ingest(
        Ingest(
            source=str(source),
            on_invalid=on_invalid,
            label_geometry=rule,
            label=BINARY.rule,
            ignore_value=None,
            channel=None,
            level_um=None,
        ),
        raw=raw,
    )
    report: dict[str, Any] = json.loads((raw / "validation.json").read_text())
    return report


def refused(source: Path, raw: Path) -> DataError:
    with pytest.raises(DataError) as raised:
        run(source, raw)
    return raised.value


def pair(source: Path, image: Any, label: Any, name: str = "mv01") -> Path:
    """A volume in MiniVess' layout, stored as nibabel's images `image` and `label` have it."""
    for file, stored in ((f"raw/{name}.nii.gz", image), (f"seg/{name}_y.nii.gz", label)):
        stored.header.set_xyzt_units("micron")
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        nifti.save(stored, source / file)
    return source


def stored(array_zyx: NDArray[Any], codes: str = "RAS", affine: NDArray[Any] = AFFINE) -> Any:
    """`array_zyx` in the same place of the world, with the array's axes pointing as `codes` say."""
    image = nifti.Nifti1Image(array_zyx.T, affine)
    start = nifti.orientations.io_orientation(affine)
    end = nifti.orientations.axcodes2ornt(codes)
    return image.as_reoriented(nifti.orientations.ornt_transform(start, end))


def assert_agrees(raw: Path, seed: int = 1, name: str = "mv01") -> None:
    """Image and label in `raw`, as every later stage reads them, are the made ones voxel by voxel."""
    np.testing.assert_array_equal(read_stack(raw / name / "image.nii.gz"), image_zyx(seed))
    np.testing.assert_array_equal(binarise(read_stack(raw / name / "label.nii.gz")), label_zyx(seed) // 255)


@pytest.mark.parametrize("codes", ["LAS", "RPS", "RAI", "LPI", "SAR", "ARS", "IPL"])
def test_a_label_in_another_order_is_brought_into_the_image_s(tmp_path: Path, codes: str) -> None:
    """Reversed or with its axes exchanged: said, written to data/raw with its checksum, the source left alone."""
    source = pair(tmp_path / "source", stored(image_zyx(1)), stored(label_zyx(1), codes))
    before = (source / "seg/mv01_y.nii.gz").read_bytes()
    (volume,) = run(source, tmp_path / "raw")["volumes"]
    assert volume["verdict"] == "valid"
    assert "the label is stored in another order than the image" in volume["warnings"][0]
    assert_agrees(tmp_path / "raw")
    assert (source / "seg/mv01_y.nii.gz").read_bytes() == before
    with (tmp_path / "raw/volumes.csv").open() as stream:
        (line,) = csv.DictReader(stream)
    landed = tmp_path / "raw/mv01/label.nii.gz"
    assert line["label_sha256"] == hashlib.sha256(landed.read_bytes()).hexdigest()
    np.testing.assert_allclose(nifti.load(landed).affine, AFFINE)


def test_a_reordered_label_is_the_same_file_every_time(tmp_path: Path) -> None:
    """DVC sees that nothing changed."""
    source = pair(tmp_path / "source", stored(image_zyx(1)), stored(label_zyx(1), "LAI"))
    files = []
    for name in ("one", "two"):
        run(source, tmp_path / name)
        files.append((tmp_path / name / "mv01/label.nii.gz").read_bytes())
    assert files[0] == files[1]


def test_a_label_that_two_volumes_share_is_reordered_for_one_of_them(tmp_path: Path) -> None:
    """From an archive both are one file on the disk: the other volume keeps what came, and its checksum is its own."""
    source = tmp_path / "source"
    label = stored(label_zyx(1), "LAS")
    for name, image in (("v1", stored(image_zyx(1))), ("v2", stored(image_zyx(2), "LAS"))):
        save(source / f"{name}.nii.gz", np.asarray(image.dataobj), image.affine)
    save(source / "label.nii.gz", np.asarray(label.dataobj), label.affine)
    rows = [row(name, image=f"{name}.nii.gz", label="label.nii.gz") for name in ("v1", "v2")]
    write_table(source, rows)
    shutil.make_archive(str(tmp_path / "packed"), "zip", source)
    run(tmp_path / "packed.zip", tmp_path / "raw")
    original = (source / "label.nii.gz").read_bytes()
    landed = [(tmp_path / f"raw/{name}/label.nii.gz").read_bytes() for name in ("v1", "v2")]
    assert landed[0] != original
    assert landed[1] == original
    with (tmp_path / "raw/volumes.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert [line["label_sha256"] for line in lines] == [hashlib.sha256(each).hexdigest() for each in landed]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32"])
def test_a_reordered_label_keeps_its_values(tmp_path: Path, dtype: str) -> None:
    """In its own type."""
    label = nifti.Nifti1Image(label_zyx(1).astype(dtype).T, AFFINE, dtype=dtype)
    source = pair(tmp_path / "source", stored(image_zyx(1)), label.as_reoriented([[0, -1], [1, 1], [2, 1]]))
    run(source, tmp_path / "raw")
    found = read_stack(tmp_path / "raw/mv01/label.nii.gz")
    assert (found.dtype, sorted(np.unique(found))) == (np.dtype(dtype), [0, 255])
    assert_agrees(tmp_path / "raw")


def test_a_label_in_the_same_order_is_not_touched(tmp_path: Path) -> None:
    """Byte by byte, without a remark."""
    source = pair(tmp_path / "source", stored(image_zyx(1)), stored(label_zyx(1)))
    report = run(source, tmp_path / "raw")
    assert (tmp_path / "raw/mv01/label.nii.gz").read_bytes() == (source / "seg/mv01_y.nii.gz").read_bytes()
    assert report["volumes"][0]["warnings"] == []
    assert report["notes"] == ["no dataset.csv: the layout is raw/ + seg/"]


def test_two_writers_habits_are_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The arrays are in the same order and stay so; the note counts the volumes."""
    lps = np.diag([-X, -Y, Z, 1.0])
    for seed, name in enumerate(("mv01", "mv02", "mv03"), 1):
        label = nifti.Nifti1Image(label_zyx(seed).T, lps)
        pair(tmp_path / "source", stored(image_zyx(seed)), label, name)
    report = run(tmp_path / "source", tmp_path / "raw")
    assert [volume["warnings"] for volume in report["volumes"]] == [[], [], []]
    _, note = report["notes"]
    assert "LPS" in note
    assert "(volumes: 3)" in note
    assert capsys.readouterr().out.count("LPS") == 1
    for seed, name in enumerate(("mv01", "mv02", "mv03"), 1):
        assert_agrees(tmp_path / "raw", seed, name)


def _moved(label: NDArray[Any], origin_z: float = 0.0, factor: float = 1.0) -> Any:
    affine = np.diag([X * factor, Y * factor, Z * factor, 1.0])
    affine[2, 3] = origin_z
    return nifti.Nifti1Image(label.T, affine)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (_moved(label_zyx(1), 5 * Z), "another place than the image: from (0, 0, 10) by 0.5 × 0.5 × 2 µm RAS"),
        (_moved(label_zyx(1), factor=2), "another spacing than the image: from (0, 0, 0) by 1 × 1 × 4 µm RAS"),
    ],
    ids=["shifted", "other_spacing"],
)
def test_a_label_on_another_grid_is_invalid(tmp_path: Path, label: Any, says: str) -> None:
    """With both geometries and the way out; what is known of the volume is in the report all the same."""
    source = pair(tmp_path / "source", stored(image_zyx(1)), label)
    pair(source, stored(image_zyx(2)), stored(label_zyx(2)), "mv02")
    error = refused(source, tmp_path / "raw")
    assert f"mv01: label seg/mv01_y.nii.gz: {says}; image from (0, 0, 0) by 0.5 × 0.5 × 2 µm RAS" in error.what
    assert "ingest.label_geometry: voxels" in error.remedy
    volume, other = run(source, tmp_path / "skipped", on_invalid="skip")["volumes"]
    assert (volume["verdict"], other["verdict"]) == ("invalid", "valid")
    assert volume["spacing_um"] == [Z, Y, X]
    assert volume["foreground_share"] == pytest.approx(label_zyx(1).mean() / 255)


def test_the_rule_voxels_takes_labels_as_they_are(tmp_path: Path) -> None:
    """Shifted, scaled or reversed in the header alone: the arrays' order counts."""
    for number, label in enumerate((_moved(label_zyx(1), 10.0), _moved(label_zyx(1), factor=3))):
        source = pair(tmp_path / f"source{number}", stored(image_zyx(1)), label)
        assert run(source, tmp_path / f"raw{number}", "voxels")["volumes"][0]["warnings"] == []
        assert_agrees(tmp_path / f"raw{number}")
    reversed_header = nifti.Nifti1Image(label_zyx(1).T, np.diag([-X, Y, Z, 1.0]) + _origin((SHAPE_ZYX[2] - 1) * X))
    source = pair(tmp_path / "source", stored(image_zyx(1)), reversed_header)
    run(source, tmp_path / "raw", "voxels")
    assert_agrees(tmp_path / "raw")


def _origin(x: float) -> NDArray[np.float64]:
    offset = np.zeros((4, 4))
    offset[0, 3] = x
    return offset


@pytest.mark.parametrize("rule", ["world", "voxels"])
def test_an_image_with_z_first_and_a_label_that_says_nothing(tmp_path: Path, rule: str) -> None:
    """Both arrays are in z, y, x: the label is read as the image is, and that is said."""
    image = nifti.Nifti1Image(image_zyx(1), SAR)
    source = pair(tmp_path / "source", image, nifti.Nifti1Image(label_zyx(1), np.eye(4)))
    (volume,) = run(source, tmp_path / "raw", rule)["volumes"]
    assert volume["shape_zyx"] == list(SHAPE_ZYX)
    assert any("its array is read in the order of the image's" in warning for warning in volume["warnings"])
    assert_agrees(tmp_path / "raw")


def test_the_table_s_z_is_the_z_of_the_world(tmp_path: Path) -> None:
    """An array with z first keeps its spacing along z, by the table and by the header."""
    source = tmp_path / "source"
    save(source / "images/v1.nii.gz", image_zyx(1), SAR)
    save(source / "labels/v1.nii.gz", label_zyx(1), SAR)
    write_table(source, [row("v1", image="images/v1.nii.gz", label="labels/v1.nii.gz")])
    (volume,) = run(source, tmp_path / "raw")["volumes"]
    assert (volume["shape_zyx"], volume["spacing_um"]) == (list(SHAPE_ZYX), list(SPACING_UM))
    assert [warning for warning in volume["warnings"] if "table is used" in warning] == []
    assert any("stored as z, y, x" in warning for warning in volume["warnings"])


def test_a_header_that_says_nothing_is_a_warning_beside_a_table(tmp_path: Path) -> None:
    """The shape that it makes is shown: a stack saved as z, y, x under the default header comes out turned."""
    source = tmp_path / "source"
    save(source / "images/v1.nii.gz", image_zyx(1), np.eye(4), unit=None)
    save(source / "labels/v1.nii.gz", label_zyx(1), np.eye(4), unit=None)
    write_table(source, [row("v1", image="images/v1.nii.gz", label="labels/v1.nii.gz")])
    (volume,) = run(source, tmp_path / "raw")["volumes"]
    (warning,) = volume["warnings"]
    assert "carries no geometry" in warning
    assert "giving 20 × 24 × 4 voxels in z, y, x" in warning


def test_the_evidence_of_the_spacing_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the verdict and in the report, for a header and for a table."""
    source = pair(tmp_path / "source", stored(image_zyx(1)), stored(label_zyx(1)))
    (volume,) = run(source, tmp_path / "raw")["volumes"]
    assert (volume["spacing_um"], volume["spacing_source"]) == ([2.0, 0.5, 0.5], "NIfTI sform")
    assert "4 × 24 × 20 voxels of 2 × 0.5 × 0.5 µm (NIfTI sform), 8.3% foreground, valid" in capsys.readouterr().out


def test_what_is_not_known_of_an_invalid_volume_is_null(tmp_path: Path) -> None:
    """A damaged image has no shape; a label that is missing has no share."""
    source = make_source(tmp_path / "source")
    (source / "images/v1.tif").write_bytes(b"")
    (source / "labels/v2.tif").unlink()
    first, second, third = run(source, tmp_path / "raw", on_invalid="skip")["volumes"]
    assert (first["shape_zyx"], first["spacing_um"], first["spacing_source"]) == (None, None, None)
    assert (second["shape_zyx"], second["foreground_share"]) == (list(SHAPE_ZYX), None)
    assert third["verdict"] == "valid"


def test_a_layout_without_spacing_is_told_to_have_a_table(tmp_path: Path) -> None:
    """There are no cells to fill in, as there are in one."""
    for folder, stack in (("images", image_zyx(1)), ("labels", label_zyx(1))):
        (tmp_path / "source" / folder).mkdir(parents=True)
        save_tiff(tmp_path / "source" / folder / "a.tif", stack)
    reason = refused(tmp_path / "source", tmp_path / "raw").what
    assert "gives no spacing; give it in a table (capillary dataset init FOLDER writes one)" in reason
    write_table(tmp_path / "source", [{"id": "a", "image": "images/a.tif", "label": "labels/a.tif"}])
    reason = refused(tmp_path / "source", tmp_path / "raw").what
    assert "gives no spacing; fill in spacing_z_um, spacing_y_um, spacing_x_um in line 2" in reason


def test_a_scale_the_other_way_round_is_said(tmp_path: Path) -> None:
    """WhiteIsZero in image and label: both are inverted and valid, and both are told."""
    source = make_source(tmp_path / "source", ("v1",))
    save_tiff_inverted(source / "images/v1.tif", image_zyx(0))
    save_tiff_inverted(source / "labels/v1.tif", label_zyx(0))
    (volume,) = run(source, tmp_path / "raw")["volumes"]
    assert volume["foreground_share"] == pytest.approx(label_zyx(0).mean() / 255)
    assert [warning.split(" stores")[0] for warning in volume["warnings"]] == ["the label", "the file"]
    np.testing.assert_array_equal(read_stack(tmp_path / "raw/v1/image.tif"), image_zyx(0))
    np.testing.assert_array_equal(read_stack(tmp_path / "raw/v1/label.tif"), label_zyx(0))


def save_tiff_inverted(file: Path, stack: NDArray[np.uint8]) -> None:
    tifffile.imwrite(file, 255 - stack, photometric="miniswhite")


def test_a_tiff_says_nothing_of_the_world(tmp_path: Path) -> None:
    """A label in TIFF belongs to a NIfTI image voxel by voxel, whichever axis the image stores first."""
    source = tmp_path / "source"
    save(source / "images/v1.nii.gz", image_zyx(1), SAR)
    (source / "labels").mkdir()
    save_tiff(source / "labels/v1.tif", label_zyx(1))
    write_table(source, [row("v1", image="images/v1.nii.gz")])
    run(source, tmp_path / "raw")
    np.testing.assert_array_equal(read_stack(tmp_path / "raw/v1/image.nii.gz"), image_zyx(1))
    np.testing.assert_array_equal(read_stack(tmp_path / "raw/v1/label.tif"), label_zyx(1))


def ome(file: Path, stack: NDArray[Any], spacing_zyx: tuple[float, ...]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", spacing_zyx, strict=True)}
    save_tiff(file, stack, metadata={"axes": "ZYX", **sizes})


@pytest.mark.parametrize("kind", ["OME", "NIfTI"])
@pytest.mark.parametrize(("factor", "is_told"), [(1.0, False), (2.0, True)])
def test_another_spacing_of_the_label_is_said_next_to_a_tiff(
    tmp_path: Path, kind: str, factor: float, is_told: bool
) -> None:
    """Voxels may be right all the same: a warning with both, none by the rule `voxels`."""
    source, spacing = tmp_path / "source", (Z * factor, Y, X * factor)
    ome(source / "images/a.ome.tif", image_zyx(1), SPACING_UM)
    if kind == "OME":
        ome(source / "labels/a.ome.tif", label_zyx(1), spacing)
    else:
        save(source / "labels/a.nii.gz", label_zyx(1).T, np.diag([*spacing[::-1], 1.0]))
    (volume,) = run(source, tmp_path / "raw")["volumes"]
    found = [warning for warning in volume["warnings"] if "taken voxel by voxel" in warning]
    assert bool(found) is is_told
    if is_told:
        assert "the label's header says 4 × 0.5 × 1 µm" in found[0]
        assert "the image's 2 × 0.5 × 0.5 µm (OME PhysicalSize)" in found[0]
    assert run(source, tmp_path / "voxels", "voxels")["volumes"][0]["warnings"] == []


@pytest.mark.parametrize(
    ("codes", "says"), [("RAS", ""), ("LPS", ""), ("RAI", "has z reversed"), ("LPI", "has x, y, z reversed")]
)
def test_a_reversed_label_is_said_next_to_a_tiff(tmp_path: Path, codes: str, says: str) -> None:
    """Which of the two ends of the image its first slice is, only the label says."""
    source = tmp_path / "source"
    ome(source / "images/a.ome.tif", image_zyx(1), SPACING_UM)
    label = stored(label_zyx(1), codes)
    save(source / "labels/a.nii.gz", np.asarray(label.dataobj), label.affine)
    (volume,) = run(source, tmp_path / "raw")["volumes"]
    assert says in "; ".join(volume["warnings"])
    assert bool(says) is bool(volume["warnings"])


def test_a_damaged_label_is_told_once(tmp_path: Path) -> None:
    """By the check of its voxels, not by the comparison of headers as well."""
    source = pair(tmp_path / "source", stored(image_zyx(1)), stored(label_zyx(1)))
    label = source / "seg/mv01_y.nii.gz"
    label.write_bytes(label.read_bytes()[: label.stat().st_size // 2])
    assert refused(source, tmp_path / "raw").what.count("damaged") == 1
