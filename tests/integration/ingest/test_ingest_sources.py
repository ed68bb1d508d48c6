"""ingest reads real sources: folders, archives, a web server, an S3 server, the real stacks."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stages.common.imaging.stacks import read_stack
from tests.integration.ingest.ingest_sandbox import ServedSandbox, s3_server, web_server
from tests.support.parts import REAL_STACKS, REPOSITORY, command_environment, require
from tests.support.warm import with_warm_commands
from tests.unit.stages.common.imaging.foreign.written import save_zarr
from tests.unit.stages.ingest.made import image_zyx, label_zyx, make_minivess, make_source, row, write_table

PHANTOM = REPOSITORY / "samples" / "phantom"
NAMES = ("v1", "v2", "v3")


@pytest.fixture
def box(tmp_path: Path) -> ServedSandbox:
    """An empty sandbox."""
    return ServedSandbox(tmp_path / "sandbox")


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder to serve: `stacks`, `minivess` and archives of `stacks`."""
    folder = tmp_path / "shelf"
    stacks = make_source(folder / "stacks", NAMES)
    make_minivess(folder / "minivess")
    shutil.make_archive(str(folder / "stacks"), "zip", stacks)
    shutil.make_archive(str(folder / "stacks"), "gztar", folder, "stacks")
    return folder


@pytest.fixture
def web(shelf: Path) -> Iterator[str]:
    """`shelf` on a web server."""
    with web_server(shelf) as url:
        yield url


def table_of(box: ServedSandbox) -> list[dict[str, str]]:
    with (box.raw / "volumes.csv").open() as stream:
        return list(csv.DictReader(stream))


def assert_landed(box: ServedSandbox, source: Path, pairs: dict[str, tuple[str, str]]) -> None:
    """data/raw holds the volumes `pairs` (id → image, label in `source`), byte for byte and with true checksums."""
    rows = {each["id"]: each for each in table_of(box)}
    assert rows.keys() == pairs.keys()
    for name, files in pairs.items():
        for kind, file in zip(("image", "label"), files, strict=True):
            landed = (box.raw / rows[name][kind]).read_bytes()
            assert landed == (source / file).read_bytes()
            assert rows[name][f"{kind}_sha256"] == hashlib.sha256(landed).hexdigest()
    assert {path.name for path in box.raw.iterdir()} == {*pairs, "volumes.csv", "validation.json", "labels.json"}


def tiffs(names: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    return {name: (f"images/{name}.tif", f"labels/{name}.tif") for name in names}


@pytest.mark.parametrize("name", ["stacks", "stacks.zip", "stacks.tar.gz"])
def test_local_folder_and_archives(box: ServedSandbox, shelf: Path, name: str) -> None:
    """A relative path, as params.yaml has it."""
    output = box.succeed(f"../shelf/{name}")
    assert_landed(box, shelf / "stacks", tiffs(NAMES))
    assert f"3 volumes from ../shelf/{name} are valid" in output


def test_linked_source_as_the_launcher_lays_it(box: ServedSandbox, shelf: Path) -> None:
    """In the sandbox of the process executor the source is a link."""
    (box.folder / "stacks").symlink_to(shelf / "stacks")
    box.succeed("stacks")
    assert_landed(box, shelf / "stacks", tiffs(NAMES))


@pytest.mark.parametrize("name", ["stacks.zip", "stacks.tar.gz", "stacks/dataset.csv", "stacks.zip?part=secret"])
def test_web_server(box: ServedSandbox, shelf: Path, web: str, name: str) -> None:
    """An archive or a table at a URL; a query is used and never shown or written: a key may hide in it."""
    output = box.succeed(f"{web}/{name}")
    assert_landed(box, shelf / "stacks", tiffs(NAMES))
    report = json.loads((box.raw / "validation.json").read_text())
    assert report["source"] == f"{web}/{name.partition('?')[0]}"
    assert "secret" not in output


def test_web_server_with_awkward_file_names(box: ServedSandbox, shelf: Path, web: str) -> None:
    """Spaces, signs with a meaning in URLs and letters beyond ASCII are file names, too."""
    source = shelf / "stacks"
    awkward = "images/50% of #1 ü+.tif"
    (source / "images" / "v1.tif").rename(source / awkward)
    write_table(source, [row("v1", image=awkward)])
    box.succeed(f"{web}/stacks/dataset.csv")
    assert_landed(box, source, {"v1": (awkward, "labels/v1.tif")})


def test_web_server_that_hangs_up_once(box: ServedSandbox, shelf: Path, web: str) -> None:
    """A dropped connection is tried again."""
    box.succeed(f"{web}/flaky/stacks.zip")
    assert_landed(box, shelf / "stacks", tiffs(NAMES))


def test_s3_server(box: ServedSandbox, shelf: Path) -> None:
    """A folder in a bucket, with the endpoint and the keys from the environment."""
    with s3_server(shelf.parent) as environment:
        output = box.succeed("s3://shelf/stacks", **environment)
    assert_landed(box, shelf / "stacks", tiffs(NAMES))
    assert output.splitlines()[0].startswith("ingest 1/3 v1: 4 × 24 × 20 voxels")


def test_minivess_layout_on_s3(box: ServedSandbox, shelf: Path) -> None:
    """Pairs are found by listing, the spacing by the header."""
    with s3_server(shelf.parent) as environment:
        box.succeed("s3://shelf/minivess/", **environment)
    pairs = {name: (f"raw/{name}.nii.gz", f"seg/{name}_y.nii.gz") for name in ("mv01", "mv02")}
    assert_landed(box, shelf / "minivess", pairs)
    assert [table_of(box)[0][f"spacing_{axis}_um"] for axis in "zyx"] == ["2.0", "0.5", "0.5"]


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_on_s3(box: ServedSandbox, tmp_path: Path, version: int) -> None:
    """Stores are folders in a bucket: their pyramid's finest level lands, with the spacing of their metadata."""
    source = tmp_path / "shelf" / "stores"
    source.mkdir(parents=True)
    for kind, stack in (("image", image_zyx(1)), ("label", label_zyx())):
        save_zarr(source / f"{kind}.ome.zarr", [stack, stack[:, ::2, ::2]], version=version)
    (source / "dataset.csv").write_text("id,image,label\nv1,image.ome.zarr,label.ome.zarr\n")
    with s3_server(tmp_path) as environment:
        box.succeed("s3://shelf/stores", **environment)
    (volume,) = table_of(box)
    np.testing.assert_array_equal(read_stack(box.raw / volume["image"]), image_zyx(1))
    np.testing.assert_array_equal(read_stack(box.raw / volume["label"]), label_zyx())
    assert [volume[f"spacing_{axis}_um"] for axis in "zyx"] == ["5.0", "0.9", "1.1"]


def test_one_bad_volume_on_s3_is_skipped(box: ServedSandbox, shelf: Path) -> None:
    """A missing object is the volume's fault, not the server's."""
    (shelf / "stacks" / "labels" / "v2.tif").unlink()
    with s3_server(shelf.parent) as environment:
        box.write_params("s3://shelf/stacks", on_invalid="skip")
        result = box.run(**environment)
    assert result.returncode == 0, result.stderr
    assert_landed(box, shelf / "stacks", tiffs(("v1", "v3")))
    assert "v2: INVALID: label labels/v2.tif: s3://shelf/stacks/labels/v2.tif does not exist" in result.stdout


def test_phantom_is_valid_without_a_remark(box: ServedSandbox) -> None:
    """The default input passes every check, groups included."""
    box.succeed(str(PHANTOM))
    report = json.loads((box.raw / "validation.json").read_text())
    assert [(each["verdict"], each["warnings"]) for each in report["volumes"]] == [("valid", [])] * 8
    assert len({each["group"] for each in table_of(box)}) == 6
    assert {each["label_foreground_value"] for each in table_of(box)} == {"1", "255"}


def test_real_stacks_are_valid(box: ServedSandbox) -> None:
    """Six stacks with labels of {0, 255} and {0, 254}, 8 and 16 bit, as they came from their authors."""
    require(REAL_STACKS.is_dir(), "../shared/datasets/vesselnn")
    output = box.succeed(str(REAL_STACKS))
    with (REAL_STACKS / "dataset.csv").open() as stream:
        pairs = {each["id"]: (each["image"], each["label"]) for each in csv.DictReader(stream)}
    assert_landed(box, REAL_STACKS, pairs)
    assert output.count(", valid") == 6
    for each in table_of(box):
        assert read_stack(box.raw / each["image"]).shape == tuple(int(each[f"shape_{axis}"]) for axis in "zyx")
        assert each["spacing_z_um"] == "5.0"
    assert sorted(each["label_foreground_value"] for each in table_of(box)) == ["254", *["255"] * 5]


def test_ingest_loads_neither_torch_nor_a_tracker() -> None:
    """Its environment is small: what it imports says so, with every file system that it installs."""
    script = "import sys, stages.ingest.__main__, s3fs, aiohttp; print(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "monai", "mlflow", "dvc", "skimage", "sklearn", "matplotlib"} & set(loaded)


def _graph(folder: Path, source: str) -> None:
    """A repository with one stage that depends on `source`, as dvc.yaml has it."""
    folder.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(f"ingest:\n  source: {source}\n")
    (folder / "dvc.yaml").write_text("stages:\n  a:\n    cmd: echo ran\n    deps:\n      - ${ingest.source}\n")


def _dvc(folder: Path, *argv: str, **environment: str) -> str:
    result = subprocess.run(
        ["dvc", *argv],
        cwd=folder,
        env=with_warm_commands(command_environment(**environment)),
        capture_output=True,
        text=True,
    )
    return result.stdout + result.stderr


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_dvc_sees_a_change_behind_a_url(tmp_path: Path, shelf: Path, kind: str) -> None:
    """A source on S3 or on the web is a dep like a local one: unchanged means up to date, changed means run again."""
    repository = tmp_path / "repository"
    with web_server(shelf) as url, s3_server(shelf.parent) as environment:
        _graph(repository, "s3://shelf/stacks" if kind == "s3" else f"{url}/stacks.zip")
        _dvc(repository, "init", "--no-scm", "--quiet")
        assert "Running stage 'a'" in _dvc(repository, "repro", **environment)
        assert "up to date" in _dvc(repository, "repro", **environment)
        (shelf / "stacks" / "images" / "v1.tif").write_bytes(b"other")
        (shelf / "stacks.zip").write_bytes(b"other")
        assert "Running stage 'a'" in _dvc(repository, "repro", **environment)
