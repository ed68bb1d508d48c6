"""Bad input to the real ingest process: one screen that names file, value and remedy, and nothing half-written."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.common.errors import ExitCode
from tests.integration.ingest_sandbox import Sandbox, free_port, in_namespace, s3_server, web_server, without_override
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
    write_table(stacks, [{key: value for key, value in row("v1").items() if key != "spacing_z_um"}])


def _no_rows(stacks: Path) -> None:
    file = stacks / "dataset.csv"
    file.write_text(file.read_text().splitlines()[0])


def _empty_folder(stacks: Path) -> None:
    for file in stacks.rglob("*.*"):
        file.unlink()


def _semicolons(stacks: Path) -> None:
    file = stacks / "dataset.csv"
    file.write_text(file.read_text().replace(",", ";"))


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


def _plain_nifti_called_gz(stacks: Path) -> None:
    file = _nifti(stacks)
    file.write_bytes(gzip.decompress(file.read_bytes()))


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


BAD_STACKS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "empty folder": (_empty_folder, ("neither dataset.csv nor", "images, labels")),
    "missing column": (_no_column, ("stacks/dataset.csv", "lacks the column spacing_z_um")),
    "semicolons": (_semicolons, ("stacks/dataset.csv", "separated by ';'")),
    "binary table": (_binary_table, ("stacks/dataset.csv", "not CSV in UTF-8")),
    "no rows": (_no_rows, ("stacks/dataset.csv", "no rows")),
    "text as spacing": (_table(row("v1", spacing_z_um="wide")), ("v1", "spacing_z_um 'wide' is not a number")),
    "negative spacing": (_table(row("v1", spacing_x_um=-0.5)), ("v1", "spacing_x_um '-0.5' is outside 0.01 to 100 µm")),
    "spacing in nm": (_table(row("v1", spacing_x_um=500)), ("v1", "spacing_x_um '500' is outside")),
    "id twice": (_table(row("v1"), row("v1", image="images/v2.tif")), ("2 of 2", "id 'v1' stands in several rows")),
    "id with a path": (_table(row("v1"), row("v2", id="../../v2")), ("row 2", "'../../v2' cannot name a folder")),
    "path out of the source": (_table(row("v1", image="../../secret.tif")), ("v1", "'../../secret.tif' leads out")),
    "absolute path": (_table(row("v1", label="/etc/hostname.tif")), ("v1", "'/etc/hostname.tif' leads out")),
    "missing image": (_no_image, ("1 of 3", "v2: image images/v2.tif: it does not exist")),
    "folder as image": (_folder_as_image, ("v2: image images/v2.tif: this is a folder",)),
    "link to itself": (_loop_of_links, ("v2: image images/v2.tif: it is a link to v2.tif",)),
    "cut TIFF": (_cut_tiff, ("v2: image images/v2.tif: the file is damaged or cut",)),
    "no TIFF": (_text_tiff, ("v2: image images/v2.tif: the file is damaged or cut: not a TIFF file",)),
    "zero bytes": (_zero_bytes, ("v2: image images/v2.tif: the file is empty (0 bytes)",)),
    "cut NIfTI": (_cut_nifti, ("v2: image images/v2.nii.gz: the file is damaged or cut",)),
    "NIfTI with wrong magic": (_wrong_magic_nifti, ("v2: image images/v2.nii.gz: the file is damaged or cut",)),
    "plain NIfTI called gz": (_plain_nifti_called_gz, ("v2: image images/v2.nii.gz: the file is damaged",)),
    "picture": (_picture, ("v2: image 'images/v2.png' names neither TIFF nor NIfTI",)),
    "label of another shape": (_label_of_other_shape, ("v2: label labels/v2.tif", "4 × 20 × 20", "4 × 24 × 20")),
    "label of three values": (_three_values, ("v2: label labels/v2.tif: the label holds 3 values",)),
    "empty label": (_empty_label, ("v2: label labels/v2.tif: it is empty",)),
    "NaN": (_nan_image, ("v2: image images/v2.tif: 2 voxels are NaN",)),
    "constant image": (_constant_image, ("v2: image images/v2.tif: every voxel is 7",)),
    "same image twice": (_duplicate, ("v2: image images/v2.tif: it has the same content as v1's",)),
    "flat image": (_flat_image, ("v2: image images/v2.tif", "shape 24 × 20, not a stack")),
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


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/none.zip", ExitCode.DATA, "/none.zip does not exist"),
        ("/none/dataset.csv", ExitCode.DATA, "/none/dataset.csv does not exist"),
        ("/stacks/", ExitCode.DATA, "HTTP cannot list folders"),
        ("/params.yaml.zip", ExitCode.DATA, "cannot be unpacked"),
        ("/status/401/a.zip", ExitCode.SERVICE, "is refused"),
        ("/status/503/a.zip", ExitCode.SERVICE, "503"),
        ("/cut/params.yaml.zip", ExitCode.SERVICE, "cannot be read from its server"),
    ],
)
def test_bad_answer_of_a_web_server(box: Sandbox, path: str, code: ExitCode, says: str) -> None:
    """404 is the URL's fault, a login is needed, the server fails, or half the bytes come: each is told apart."""
    (box.folder / "params.yaml.zip").write_text("no archive at all, but a page of text")
    with web_server(box.folder) as url:
        box.write_params(f"{url}{path}")
        box.assert_refused(box.run(), code, says, url)


def test_server_that_fails_between_volumes(box: Sandbox) -> None:
    """A failing server is no reason to skip a volume: the run stops, and what came before does not stay."""
    with web_server(box.folder) as url:
        box.write_params(f"{url}/halfway/stacks/dataset.csv", on_invalid="skip")
        result = box.run()
    assert "ingest 1/3 v1: " in result.stdout
    box.assert_refused(result, ExitCode.SERVICE, "/halfway/stacks/images/v2.tif", "500")


def test_unreachable_host(box: Sandbox) -> None:
    """Nobody listens: host and reason are told."""
    url = f"http://127.0.0.1:{free_port()}/stacks.zip"
    box.write_params(url)
    box.assert_refused(box.run(), ExitCode.SERVICE, url, "Cannot connect")


@pytest.mark.parametrize(
    ("source", "changes", "code", "says"),
    [
        ("s3://sandbox/nowhere", {}, ExitCode.DATA, "s3://sandbox/nowhere does not exist"),
        ("s3://no-such-bucket/stacks", {}, ExitCode.DATA, "s3://no-such-bucket/stacks does not exist"),
        ("s3://sandbox/data", {}, ExitCode.DATA, "neither dataset.csv nor"),
        ("s3://sandbox/stacks", {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, ExitCode.SERVICE, "AWS_SECRET_ACCESS_KEY"),
        ("s3://sandbox/stacks", {"AWS_ACCESS_KEY_ID": ""}, ExitCode.SERVICE, "AWS_ACCESS_KEY_ID"),
        ("s3://sandbox/stacks", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, ExitCode.SERVICE, "127.0.0.1:9"),
    ],
)
def test_bad_answer_of_an_s3_server(
    box: Sandbox, source: str, changes: dict[str, str], code: ExitCode, says: str
) -> None:
    """A missing folder, a missing bucket, wrong keys, no keys, no server."""
    box.write_params(source)
    with s3_server(box.folder.parent) as environment:
        no_other_keys = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(box.folder)}
        box.assert_refused(box.run(**{**environment, **no_other_keys, **changes}), code, source, says)


def test_unreadable_image(box: Sandbox) -> None:
    """A file that one may not read is a volume's reason, told with the way out."""
    (box.folder / "stacks" / "images" / "v2.tif").chmod(0)
    box.write_params("stacks")
    says = "v2: image images/v2.tif: it cannot be read: Permission denied"
    box.assert_refused(box.run(*without_override()), ExitCode.DATA, says)


def test_unwritable_folder(box: Sandbox) -> None:
    """Where nothing can be written, the folder is named."""
    box.write_params("stacks")
    (box.folder / "data").chmod(0o555)
    try:
        box.assert_refused(box.run(*without_override()), ExitCode.MACHINE, "permission is denied", "data/raw")
    finally:
        (box.folder / "data").chmod(0o755)


def test_read_only_disk(box: Sandbox) -> None:
    """A read-only mount is told apart from missing permission."""
    box.write_params("stacks")
    wrapper = in_namespace("mount -t tmpfs -o ro tmpfs data")
    box.assert_refused(box.run(*wrapper), ExitCode.MACHINE, "read-only", "data/raw")


@pytest.mark.parametrize("archive", [False, True])
def test_full_disk(box: Sandbox, archive: bool) -> None:
    """A disk that fills up while a stack is copied or unpacked is named as such."""
    stacks = box.folder / "stacks"
    (stacks / "images" / "v3.tif").write_bytes(os.urandom(400_000))
    box.write_params("stacks")
    if archive:
        shutil.make_archive(str(box.folder / "packed"), "zip", stacks)
        box.write_params("packed.zip")
    wrapper = in_namespace("mount -t tmpfs -o size=200k tmpfs data")
    box.assert_refused(box.run(*wrapper), ExitCode.MACHINE, "the disk is full")


def test_file_size_limit(box: Sandbox) -> None:
    """A limit on file sizes is the machine's, too."""
    (box.folder / "stacks" / "images" / "v3.tif").write_bytes(os.urandom(400_000))
    box.write_params("stacks")
    wrapper = ["sh", "-c", 'ulimit -f 200; exec "$@"', "sh"]
    box.assert_refused(box.run(*wrapper), ExitCode.MACHINE, "file size limit")
