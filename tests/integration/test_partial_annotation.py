"""A training on stacks of which a twentieth is labelled: the pipeline as a user types it, from files to report."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from stages.common.imaging.stacks import read_stack
from tests.support.clone import TINY, Clone

SHAPE = (20, 40, 40)
NOBODY = 255
STACKS = ("block_0", "block_1", "points_0", "points_1")
SPACING = "spacing_z_um,spacing_y_um,spacing_x_um"


def labelled_voxels(name: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Exactly 5 %: one slice, or voxels anywhere."""
    labelled = np.zeros(SHAPE, dtype=np.bool_)
    if name.startswith("block"):
        labelled[9] = True
    else:
        labelled.flat[rng.choice(labelled.size, labelled.size // 20, replace=False)] = True
    return labelled


def write_source(folder: Path) -> None:
    """Bright vessels with exact labels where somebody labelled, and `NOBODY` elsewhere."""
    folder.mkdir()
    for number, name in enumerate(STACKS):
        rng = np.random.default_rng(number)
        vessel = np.zeros(SHAPE, dtype=np.bool_)
        vessel[:, 8:20, 4 + 5 * number : 16 + 5 * number] = True
        image = np.where(vessel, 40_000, 8_000) + rng.integers(0, 5_000, SHAPE)
        label = np.where(labelled_voxels(name, rng), vessel, NOBODY)
        for kind, stack in (("image", image.astype(np.uint16)), ("label", label.astype(np.uint8))):
            tifffile.imwrite(folder / f"{name}_{kind}.tif", stack, photometric="minisblack")
    rows = [f"{name},{name}_image.tif,{name}_label.tif,2,1,1" for name in STACKS]
    (folder / "dataset.csv").write_text("\n".join([f"id,image,label,{SPACING}", *rows]) + "\n")


def dsc_of_labelled(mask: NDArray[np.bool_], label: NDArray[np.uint8]) -> float:
    """2 × common / sum, over the voxels that somebody labelled."""
    known = label != NOBODY
    vessel, found = (label == 1) & known, mask & known
    return float(2 * (vessel & found).sum() / (vessel.sum() + found.sum()))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the tiny pipeline ran on such a source, with its report."""
    clone = Clone(tmp_path_factory.mktemp("partial") / "clone")
    write_source(clone.root / "partial")
    clone.set_params(
        {
            **TINY,
            "ingest.source": "partial",
            "ingest.ignore_value": str(NOBODY),
            "preprocess.num_folds": "2",
            "evaluation.threshold": "0.5",
        }
    )
    clone.run("dvc", "repro")
    clone.run("capillary", "report")
    return clone


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_it_trains_with_a_finite_loss(project: Clone) -> None:
    """In each epoch; so is the DSC by which the curve is judged."""
    history = rows_of(project.root / "metrics/training/dice_ce/fold_0.csv")
    assert len(history) == int(TINY["training.max_epochs"])
    assert all(math.isfinite(float(row["loss"])) for row in history)
    assert math.isfinite(float(history[-1]["validation_dsc"]))


def test_the_dsc_is_that_of_the_labelled_voxels(project: Clone, tmp_path: Path) -> None:
    """What evaluate measured is what a count over predict's masks gives; other metrics need a labelled block."""
    source, rows = project.root / "partial", rows_of(project.root / "metrics/per_volume.csv")
    images = [str(source / f"{row['id']}_image.tif") for row in rows]
    project.run("capillary", "predict", *images, str(tmp_path / "masks"), "--spacing-um", "2,1,1", "--fold", "0")
    assert sorted(row["id"] for row in rows) == ["block_1", "points_1"]
    for row in rows:
        mask = read_stack(tmp_path / "masks" / f"{row['id']}_image.tif") > 0
        label = tifffile.imread(source / f"{row['id']}_label.tif")
        assert 0 < mask.mean() < 1
        assert float(row["dsc"]) == pytest.approx(dsc_of_labelled(mask, label))
        assert float(row["labelled_share"]) == pytest.approx(0.05)
        assert (row["centreline_dsc"] == "") == row["id"].startswith("points")


def test_the_report_says_what_share_is_labelled(project: Clone) -> None:
    """In words, on the page and in Markdown."""
    (page,) = (project.root / "reports").glob("*/report.html")
    for text in (page.read_text(), page.with_suffix(".md").read_text()):
        assert "5.0% of the voxels are labelled (a mean over volumes; 2 of 2 are labelled in part)" in text
        assert "A metric without a value (–) needs larger labelled blocks." in text
