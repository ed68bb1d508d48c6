"""`capillary predict` as a user types it: a real process in a sandbox, a registry, files in and out."""

import csv
import re
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from stages.common.imaging.stacks import read_stack
from tests.support.chaos import rounds
from tests.support.models.networks import brightness_network
from tests.support.models.prediction import PredictionProject
from tests.support.stacks import any_form
from tests.unit.stages.common.imaging.foreign.written import EVERY, save_zarr

SHAPE = (7, 50, 45)
BIASES = (-5.0, -7.0)
nifti: Any = nibabel


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> PredictionProject:
    """Two folds of one loss, whose mean probability of a voxel follows from its brightness."""
    project = PredictionProject(tmp_path_factory.mktemp("predict") / "project")
    for fold, bias in enumerate(BIASES):
        project.register(brightness_network(bias), fold=fold)
    return project


@pytest.fixture(scope="module")
def stack() -> NDArray[np.float32]:
    """A stack of brightness 0 to 1."""
    return np.random.default_rng(0).random(SHAPE, dtype=np.float32)


def mean_probability(stack: NDArray[np.float32], biases: tuple[float, ...] = BIASES) -> NDArray[np.float64]:
    return np.mean([1 / (1 + np.exp(-(10 * stack.astype(np.float64) + bias))) for bias in biases], axis=0)


def left_behind(project: PredictionProject) -> list[Path]:
    """Sandboxes and half files."""
    hidden = [file for file in project.root.rglob(".*.tmp") if file.is_file()]
    return [*hidden, *(project.root / ".capillary" / "sandbox").iterdir()]


def test_a_nifti_comes_back_as_the_ensemble_s_mask_in_its_own_space(
    project: PredictionProject, stack: NDArray[np.float32], tmp_path: Path
) -> None:
    """The mask of the folds' mean probability, on the stack's affine; probability and picture where asked for."""
    affine = np.array([[0, -0.9, 0, 3], [0.6, 0, 0, 4], [0, 0, 5, 5], [0, 0, 0, 1]], dtype=np.float64)
    image = nifti.Nifti1Image(stack.T, affine)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "stack.nii.gz")
    done = project.predict(f"{tmp_path}/stack.nii.gz", f"{tmp_path}/new/seg.nii.gz", "--probability", "--picture")
    assert done.returncode == 0, done.stderr
    assert "the mean of their probabilities" in done.stdout
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == [
        "seg.nii.gz",
        "seg.png",
        "seg_probability.nii.gz",
    ]
    expected = mean_probability(stack)
    sure = np.abs(expected - 0.5) > 1e-5
    found: Any = nibabel.load(tmp_path / "new/seg.nii.gz")
    np.testing.assert_array_equal(found.affine, nifti.load(tmp_path / "stack.nii.gz").affine)
    np.testing.assert_array_equal(np.asarray(found.dataobj).T[sure], (expected > 0.5)[sure])
    probability: Any = nibabel.load(tmp_path / "new/seg_probability.nii.gz")
    np.testing.assert_allclose(np.asarray(probability.dataobj).T, expected, atol=1e-5)
    with Image.open(tmp_path / "new/seg.png") as picture:
        assert picture.format == "PNG"
    assert left_behind(project) == []


def test_a_tiff_needs_a_spacing_and_keeps_what_stands_at_its_place_until_the_end(
    project: PredictionProject, stack: NDArray[np.float32], tmp_path: Path
) -> None:
    """Without a spacing exit code 2 and the option to give it; a file is replaced with --force alone, and whole."""
    tifffile.imwrite(tmp_path / "stack.tif", stack)
    files = f"{tmp_path}/stack.tif", f"{tmp_path}/seg.tif"
    without = project.predict(*files)
    assert without.returncode == 2
    assert "--spacing-um Z,Y,X" in without.stderr
    (tmp_path / "seg.tif").write_text("mine")
    refused = project.predict(*files, "--spacing-um", "5,1,1")
    assert (refused.returncode, (tmp_path / "seg.tif").read_text()) == (2, "mine")
    assert "--force" in refused.stderr
    wished = ("--spacing-um", "5,0.9,0.6", "--force", "--fold", "1", "--threshold", "0.9")
    done = project.predict(*files, *wished)
    assert done.returncode == 0, done.stderr
    expected = mean_probability(stack, BIASES[1:])
    sure = np.abs(expected - 0.9) > 1e-5
    np.testing.assert_array_equal(read_stack(tmp_path / "seg.tif")[sure] == 255, (expected > 0.9)[sure])
    assert "Traceback" not in without.stderr + refused.stderr


def test_a_failure_leaves_nothing(project: PredictionProject, stack: NDArray[np.float32], tmp_path: Path) -> None:
    """A stack that breaks off in its middle: exit code 4 with its name, and no mask."""
    tifffile.imwrite(tmp_path / "cut.tif", stack, compression="zlib")
    content = (tmp_path / "cut.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) // 2])
    ended = project.predict(f"{tmp_path}/cut.tif", f"{tmp_path}/seg.tif", "--spacing-um", "5,1,1")
    assert ended.returncode == 4, ended.stderr
    assert "cut.tif" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "note: the stage was refused" not in ended.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["cut.tif"]
    assert left_behind(project) == []


def test_a_model_is_found_by_its_name_in_the_registry(
    project: PredictionProject, stack: NDArray[np.float32], tmp_path: Path
) -> None:
    """NAME@ALIAS without any card in the workspace: the version's own card is enough."""
    tifffile.imwrite(tmp_path / "stack.ome.tif", stack, ome=True, metadata={"axes": "ZYX", **SIZES})
    cards = project.root / "models"
    cards.rename(cards.with_name("hidden"))
    try:
        done = project.predict(
            f"{tmp_path}/stack.ome.tif", f"{tmp_path}/seg.ome.tif", "--model", "capillary-dice_ce@fold-1"
        )
    finally:
        cards.with_name("hidden").rename(cards)
    assert done.returncode == 0, done.stderr
    expected = mean_probability(stack, BIASES[1:])
    sure = np.abs(expected - 0.5) > 1e-5
    np.testing.assert_array_equal(read_stack(tmp_path / "seg.ome.tif")[sure] == 255, (expected > 0.5)[sure])
    assert re.search(r"capillary-dice_ce version \d+ \(fold 1\)", done.stdout)


SIZES = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (5.0, 0.9, 0.6), strict=True)}


def write_stack(file: Path, seed: int, shape: tuple[int, int, int] = SHAPE) -> None:
    values = np.random.default_rng(seed).random(shape, dtype=np.float32)
    tifffile.imwrite(
        file, values, imagej=True, resolution=(2, 2), metadata={"axes": "ZYX", "spacing": 5.0, "unit": "micron"}
    )


def test_many_stacks_go_on_after_a_kill(project: PredictionProject, tmp_path: Path) -> None:
    """Twenty stacks (a hundred by hand), one of them damaged and one done before: killed in the middle, the same
    command does the rest.

    The killed run is at a stack that takes minutes, which is a small one when the command is repeated.
    """
    count = rounds(20, 100)
    middle = count // 2
    (tmp_path / "in").mkdir()
    for number in range(count):
        write_stack(tmp_path / f"in/{number:03}.tif", number)
    (tmp_path / "in/003.tif").write_bytes((tmp_path / "in/003.tif").read_bytes()[:1500])
    write_stack(tmp_path / f"in/{middle:03}.tif", middle, (60, 512, 512))
    out, how = tmp_path / "out", (f"{tmp_path}/out/", "--fold", "0", "--suffix", ".nii.gz")
    assert project.predict(f"{tmp_path}/in/000.tif", *how).returncode == 0
    words = (f"{tmp_path}/in/*.tif", *how, "--resume")
    running = project.start(*words)
    while len(list(out.glob("[0-9]*"))) < middle - 1 and running.poll() is None:
        time.sleep(0.05)
    running.kill()
    running.wait()
    numbers = [number for number in range(middle) if number != 3]
    assert sorted(file.name for file in out.glob("[0-9]*")) == [f"{number:03}.nii.gz" for number in numbers]
    before = {file: file.stat().st_mtime_ns for file in out.glob("[0-9]*")}
    write_stack(tmp_path / f"in/{middle:03}.tif", middle)
    done = project.predict(*words)
    assert done.returncode == 10, done.stderr
    assert f"1 of {count} stacks failed" in done.stderr
    assert done.stdout.count("done before, skipped") == len(numbers)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(list(out.glob("[0-9]*.nii.gz"))) == count - 1
    assert sorted(file.name for file in out.glob("[!0-9]*")) == ["predictions.csv", "predictions.jsonl"]
    assert not (out / ".capillary-predict").exists()
    rows = list(csv.DictReader((out / "predictions.csv").open(newline="", encoding="utf-8")))
    assert {row["image"][-7:]: row["status"] for row in rows} == {
        f"{number:03}.tif": "failed" if number == 3 else "done" for number in range(count)
    }
    for number in (0, middle - 1, middle, count - 1):
        found: Any = nibabel.load(out / f"{number:03}.nii.gz")
        values = np.random.default_rng(number).random(SHAPE, dtype=np.float32)
        expected = mean_probability(values, BIASES[:1]) > 0.5
        assert np.mean(expected == np.asarray(found.dataobj).T) > 0.999
    assert left_behind(project) == []


@pytest.mark.parametrize(
    ("form", "how"),
    [("zarr_3", ("--blocks", "auto", "--min-component-um3", "20", "--picture")), ("slices_z", ("--picture",))],
)
def test_every_form_of_stack_is_read_and_a_store_is_written(
    project: PredictionProject, tmp_path: Path, form: str, how: tuple[str, ...]
) -> None:
    """A folder, also by blocks, and files by a pattern; a store that is there may be replaced."""
    stack = (np.random.default_rng(1).random((3, 20, 18)) * 60_000).astype(np.uint16)
    source = EVERY[form](tmp_path, stack)
    save_zarr(tmp_path / "seg.ome.zarr", [stack[:1]])
    done = project.predict(str(source), f"{tmp_path}/seg.ome.zarr", "--spacing-um", "5,0.9,1.1", "--force", *how)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in tmp_path.glob("*seg*")) == ["seg.ome.zarr", "seg.png"]
    assert left_behind(project) == []
    mask = any_form.read_stack(tmp_path / "seg.ome.zarr")
    assert (mask.shape, set(np.unique(mask)) <= {0, 255}) == (stack.shape, True)
    assert any_form.read_header(tmp_path / "seg.ome.zarr").spacing.declared_um == (5.0, 0.9, 1.1)
