"""A prediction spread over the nodes of a real cluster: the result is that of one machine."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from tests.support.chaos import BY_HAND
from tests.support.clusters.leftovers import KEPT
from tests.support.clusters.places import PROFILE, until
from tests.support.clusters.slurm import cluster
from tests.support.models.networks import brightness_network
from tests.support.models.prediction import PredictionProject
from tests.support.parts import REPOSITORY
from tests.support.stacks import any_form
from tests.unit.stages.common.imaging.foreign.written import save_zarr

CLUSTER = {"CAPILLARY_PLACE": "slurm"}
SHAPE = (8, 96, 64)


@pytest.fixture
def project(tmp_path: Path) -> PredictionProject:
    """A network in a project whose predictions may run as jobs."""
    cluster()
    project = PredictionProject(tmp_path / "project")
    (project.root / "configs").unlink()
    shutil.copytree(REPOSITORY / "configs", project.root / "configs")
    config = {"max_jobs": 3, "stages": {"predict": "small"}, "profiles": {"small": {**PROFILE, "memory_gb": 2}}}
    (project.root / "configs/slurm.yaml").write_text(yaml.safe_dump(config))
    project.register(brightness_network(-5.0))
    return project


def left_of(project: PredictionProject) -> list[str]:
    """Jobs and their folders."""
    return [*map(str, (project.root / ".capillary/jobs").glob("*")), *KEPT["slurm"](project.root)]


def test_blocks_of_one_stack_join_as_on_one_machine(project: PredictionProject, tmp_path: Path) -> None:
    """Probabilities to 1e-6, and the mask to the voxel."""
    save_zarr(tmp_path / "brain.ome.zarr", [np.random.default_rng(0).random(SHAPE, dtype=np.float32)])
    how = ("--spacing-um", "5,1,1", "--blocks", "8,64,64", "--probability")
    for name, place in (("here", {}), ("there", CLUSTER)):
        done = project.predict(f"{tmp_path}/brain.ome.zarr", f"{tmp_path}/{name}.ome.zarr", *how, **place)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "predict@there" in done.stdout, done.stdout
    here, there = (
        [any_form.read_stack(tmp_path / f"{name}{what}.ome.zarr") for what in ("", "_probability")]
        for name in ("here", "there")
    )
    np.testing.assert_array_equal(there[0], here[0])
    np.testing.assert_allclose(there[1], here[1], rtol=0, atol=1e-6)
    assert until(lambda: left_of(project) == []), left_of(project)


@pytest.mark.skipif(not BY_HAND, reason="by hand: its jobs take a minute")
def test_many_stacks_are_predicted_as_on_one_machine(project: PredictionProject, tmp_path: Path) -> None:
    """Each mask to the voxel, and one row for each in the table."""
    (tmp_path / "scans").mkdir()
    for number in range(3):
        stack = np.random.default_rng(number).random((4, 24, 20), dtype=np.float32)
        tifffile.imwrite(tmp_path / f"scans/s{number}.tif", stack)
    for name, place in (("here", {}), ("there", CLUSTER)):
        done = project.predict(f"{tmp_path}/scans", f"{tmp_path}/{name}", "--spacing-um", "5,1,1", **place)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "3 stacks in 3 jobs" in done.stdout
    masks = sorted(file.name for file in (tmp_path / "here").glob("*.tif"))
    assert len(masks) == 3
    for name in masks:
        np.testing.assert_array_equal(
            any_form.read_stack(tmp_path / "there" / name), any_form.read_stack(tmp_path / "here" / name)
        )
    with (tmp_path / "there/predictions.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 3
    assert until(lambda: left_of(project) == []), left_of(project)
