"""Bad input to the whole program: one screen that names file, value and remedy, and nothing half-written."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.common.errors import ExitCode
from tests.unit.stages.ingest.made import (
    SHAPE_ZYX,
    image_zyx,
    label_zyx,
    make_source,
    row,
    save_nifti,
    save_tiff,
    write_table,
)
from tests.unit.stages.ingest.sandbox import Sandbox

Damage = Callable[[Path], None]
SPACING_XYZ = (0.5, 0.5, 2.0)


@pytest.fixture
def box(tmp_path: Path) -> Sandbox:
    """A sandbox with three good stacks in the folder `stacks`."""
    box = Sandbox(tmp_path / "sandbox")
    make_source(box.folder / "stacks")
    return box


def _cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _table(*rows: dict[str, object]) -> Damage:
    def damage(stacks: Path) -> None:
        write_table(stacks, list(rows))

    return damage


def _no_column(stacks: Path) -> None:
    write_table(stacks, [{key: value for key, value in row("v1").items() if key != "label"}])


def _no_rows(stacks: Path) -> None:
    file = stacks / "dataset.csv"
    file.write_text(file.read_text().splitlines()[0])


def _empty_folder(stacks: Path) -> None:
    for file in stacks.rglob("*.*"):
        file.unlink()


def _semicolons(stacks: Path) -> None:
    file = stacks / "dataset.csv"
    file.write_text(file.read_text().replace(",", ";", 1))


def _binary_table(stacks: Path) -> None:
    (stacks / "dataset.csv").write_bytes(os.urandom(512) + b"\xff\n")


def _no_image(stacks: Path) -> None:
    (stacks / "images" / "v2.tif").unlink()


def _cut_tiff(stacks: Path) -> None:
    _cut(stacks / "images" / "v2.tif")


def _text_tiff(stacks: Path) -> None:
    (stacks / "images" / "v2.tif").write_text("<html>404 Not Found</html>")


def _zero_bytes(stacks: Path) -> None:
    (stacks / "images" / "v2.tif").write_bytes(b"")


def _nifti(stacks: Path) -> Path:
    file = stacks / "images" / "v2.nii.gz"
    save_nifti(file, image_zyx(9), SPACING_XYZ, "micron")
    write_table(stacks, [row("v1"), row("v2", image="images/v2.nii.gz")])
    return file


def _cut_nifti(stacks: Path) -> None:
    _cut(_nifti(stacks))


def _wrong_magic_nifti(stacks: Path) -> None:
    file = _nifti(stacks)
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[344:348] = b"xxx\0"  # where NIfTI-1 keeps its magic
    content[0:4] = b"junk"
    file.write_bytes(gzip.compress(bytes(content)))


def _label_of_other_shape(stacks: Path) -> None:
    save_tiff(stacks / "labels" / "v2.tif", label_zyx()[:, :-4])


def _three_values(stacks: Path) -> None:
    label = label_zyx()
    label[0, 0, :5] = 128
    save_tiff(stacks / "labels" / "v2.tif", label)


def _nan_image(stacks: Path) -> None:
    image = image_zyx(9).astype(np.float32)
    image[0, 0, :2] = np.nan
    save_tiff(stacks / "images" / "v2.tif", image)


def _empty_label(stacks: Path) -> None:
    save_tiff(stacks / "labels" / "v2.tif", np.zeros(SHAPE_ZYX, np.uint8))


def _constant_image(stacks: Path) -> None:
    save_tiff(stacks / "images" / "v2.tif", np.full(SHAPE_ZYX, 7, np.uint8))


def _duplicate(stacks: Path) -> None:
    (stacks / "images" / "v2.tif").write_bytes((stacks / "images" / "v1.tif").read_bytes())


def _flat_image(stacks: Path) -> None:
    save_tiff(stacks / "images" / "v2.tif", image_zyx(9)[0])
    save_tiff(stacks / "labels" / "v2.tif", label_zyx())


def _complex_image(stacks: Path) -> None:
    save_tiff(stacks / "images" / "v2.tif", image_zyx(9).astype(np.complex64))


def _picture(stacks: Path) -> None:
    write_table(stacks, [row("v1"), row("v2", image="images/v2.png")])


def _folder_as_image(stacks: Path) -> None:
    (stacks / "images" / "v2.tif").unlink()
    (stacks / "images" / "v2.tif").mkdir()


def _loop_of_links(stacks: Path) -> None:
    (stacks / "images" / "v2.tif").unlink()
    (stacks / "images" / "v2.tif").symlink_to("v2.tif")


def _link_out(stacks: Path) -> None:
    (stacks / "images" / "v2.tif").rename(stacks.parent / "elsewhere.tif")
    (stacks / "images" / "v2.tif").symlink_to("../../elsewhere.tif")


BAD_STACKS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "empty folder": (_empty_folder, ("neither a dataset.csv nor", "images, labels")),
    "missing column": (_no_column, ("stacks/dataset.csv", "lacks the column label")),
    "semicolons and commas": (_semicolons, ("stacks/dataset.csv", "lacks the columns id, image")),
    "binary table": (_binary_table, ("stacks/dataset.csv", "cannot be read as text")),
    "no rows": (_no_rows, ("stacks/dataset.csv", "no rows")),
    "text as spacing": (_table(row("v1", spacing_z_um="wide")), ("v1", "spacing_z_um 'wide' is not a number")),
    "negative spacing": (_table(row("v1", spacing_x_um=-0.5)), ("v1", "spacing_x_um '-0.5' is outside 0.01 to 100 µm")),
    "spacing in nm": (_table(row("v1", spacing_x_um=500)), ("v1", "spacing_x_um '500' is outside")),
    "id twice": (_table(row("v1"), row("v1", image="images/v2.tif")), ("2 of 2", "id 'v1' is the same folder")),
    "id with a path": (
        _table(row("v1"), row("v2", id="../../v2")),
        ("line 3", "'../../v2' is a path and cannot name a folder"),
    ),
    "path outside the source": (_table(row("v1", image="../../secret.tif")), ("v1", "'../../secret.tif' leads out")),
    "absolute path": (_table(row("v1", label="/etc/hostname.tif")), ("v1", "'/etc/hostname.tif' leads out")),
    "missing image": (_no_image, ("1 of 3", "v2: image images/v2.tif: it does not exist")),
    "folder as image": (_folder_as_image, ("v2: image images/v2.tif: this is a folder",)),
    "link to itself": (_loop_of_links, ("v2: image images/v2.tif: it is a link to v2.tif",)),
    "link outside the source": (_link_out, ("v2.tif: it is a link to ../../elsewhere.tif, which leads out",)),
    "cut TIFF": (_cut_tiff, ("v2: image images/v2.tif: the file is damaged or cut",)),
    "no TIFF": (_text_tiff, ("v2: image images/v2.tif: it is a web page",)),
    "zero bytes": (_zero_bytes, ("v2: image images/v2.tif: the file is empty (0 bytes)",)),
    "cut NIfTI": (_cut_nifti, ("v2: image images/v2.nii.gz: the file is damaged or cut",)),
    "NIfTI with wrong magic": (_wrong_magic_nifti, ("v2: image images/v2.nii.gz: the file is damaged or cut",)),
    "picture": (_picture, ("v2: line 3: image 'images/v2.png' has no supported format",)),
    "label of another shape": (_label_of_other_shape, ("v2: label labels/v2.tif", "4 × 20 × 20", "4 × 24 × 20")),
    "label of three values": (_three_values, ("v2: label labels/v2.tif: it holds 3 values",)),
    "empty label": (_empty_label, ("v2: label labels/v2.tif: it is empty",)),
    "NaN": (_nan_image, ("v2: image images/v2.tif: 2 voxels are NaN",)),
    "constant image": (_constant_image, ("v2: image images/v2.tif: every voxel is 7",)),
    "same image twice": (_duplicate, ("v2: image images/v2.tif: it has the same content as v1's",)),
    "flat image": (_flat_image, ("v2: label labels/v2.tif", "4 × 24 × 20 is not the image's 1 × 24 × 20")),
    "complex voxels": (_complex_image, ("v2: image images/v2.tif", "complex64")),
}


@pytest.mark.parametrize(("damage", "says"), BAD_STACKS.values(), ids=BAD_STACKS)
def test_bad_stacks(box: Sandbox, damage: Damage, says: tuple[str, ...]) -> None:
    """What is wrong with a source is told with the volume, the file and the value; the source itself is not changed."""
    damage(box.folder / "stacks")
    before = _contents(box.folder / "stacks")
    box.write_params("stacks")
    box.assert_refused(box.run(), ExitCode.DATA, *says)
    assert _contents(box.folder / "stacks") == before


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"on_inwalid": "skip"}, ("params.yaml [ingest]", "`on_inwalid`", "did you mean `on_invalid`")),
        ({"source": 12}, ("params.yaml [ingest]", "`source`", "12")),
        ({"source": "ftp://host/stacks"}, ("`source`", "ftp://host/stacks", "s3://")),
        ({"on_invalid": "ignore"}, ("`on_invalid`", "'ignore'", "'fail' or 'skip'")),
        ({"on_invalid": None}, ("`on_invalid`", "None")),
    ],
)
def test_bad_params(box: Sandbox, changes: dict[str, object], says: tuple[str, ...]) -> None:
    """A wrong key or value in params.yaml is named with what it may be."""
    box.write_params(**{"source": "stacks", **changes})
    box.assert_refused(box.run(), ExitCode.PARAMS, *says)


def test_params_that_are_no_yaml(box: Sandbox) -> None:
    """A slip of the keyboard is told with its line."""
    (box.folder / "params.yaml").write_text("ingest:\n  source: [stacks\n")
    box.assert_refused(box.run(), ExitCode.PARAMS, "params.yaml", "line 3")


def test_missing_key(box: Sandbox) -> None:
    """No default stands in for a key that is not there."""
    (box.folder / "params.yaml").write_text("ingest:\n  source: stacks\n")
    box.assert_refused(box.run(), ExitCode.PARAMS, "on_invalid", "not visible")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere/stacks", "nowhere/stacks does not exist"),
        ("params.yaml", "params.yaml is a file, but not an archive"),
        ("broken.zip", "broken.zip cannot be unpacked"),
    ],
)
def test_bad_local_source(box: Sandbox, source: str, says: str) -> None:
    """A path that is missing, or is something else, is named with the setting to correct."""
    (box.folder / "broken.zip").write_bytes(b"PK\x03\x04 half a download")
    box.write_params(source)
    box.assert_refused(box.run(), ExitCode.DATA, says, "file:")
