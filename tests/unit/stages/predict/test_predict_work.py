"""The whole work of the stage on small stacks, against the same steps on arrays in memory."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from scipy.ndimage import label

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.grid import grid_for, resample
from stages.common.imaging.intensities.normalise import apply_scale, measure_scale
from stages.common.imaging.recipe import Recipe
from stages.common.imaging.stacks import read_stack
from stages.common.inference import predict_probability
from stages.common.registered.finding import Places, find_networks
from stages.common.registered.referred import find_by_reference
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from stages.common.runtime import Runtime
from stages.common.tiling.resampling import resample_slices
from stages.common.tiling.volume import DiskVolume
from stages.common.tracking.cards.card import read_card
from stages.common.tracking.server import Server, connect
from stages.predict.disk.scratch import OVERHEAD_BYTES, Scratch
from stages.predict.models.ensemble import load_ensemble
from stages.predict.params import Evaluation
from stages.predict.predict import predict
from tests.support.models.networks import brightness_network, linear_network
from tests.support.models.prediction import PredictionProject
from tests.support.models.prepared import BY_TORCH
from tests.support.tracking.tracked import embedded_runtime

SPACING_UM = (4.0, 1.0, 1.0)
PATCH = (4, 16, 16)
RESAMPLED = Recipe(normalisation="percentile", percentile_low=1, percentile_high=99, resample_to_um=(2.0, 1.5, 1.25))
EVALUATION = Evaluation(overlap=0.5, threshold=0.5, test_time_flips="none", backend="auto", min_component_um3=None)


def blurring_network() -> torch.nn.Module:
    torch.manual_seed(1)
    return linear_network(0.6 * torch.rand(3, 3, 3), -2.0)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> PredictionProject:
    """One loss at native resolution, one that is resampled, one whose two folds do not agree about that."""
    project = PredictionProject(tmp_path_factory.mktemp("predict") / "project")
    project.register(brightness_network(), loss="dice_ce", fold=0, patch_voxels=PATCH)
    project.register(blurring_network(), loss="cbdice", fold=0, patch_voxels=PATCH, recipe=RESAMPLED)
    project.register(brightness_network(), loss="cbdice", fold=1, patch_voxels=PATCH)
    return project


def runtime_of(project: PredictionProject) -> Runtime:
    uri = f"sqlite:///{project.root}/mlruns/mlflow.db"
    return embedded_runtime(project.root / "state", stage="predict", tracking_uri=uri, artifact_root=None)


def run(
    project: PredictionProject,
    folder: Path,
    stack: NDArray[Any],
    card: Path,
    *,
    suffix: str = ".tif",
    spacing_um: tuple[float, float, float] = SPACING_UM,
    probability: bool = False,
    **changes: object,
) -> Path:
    """The mask that the stage leaves."""
    tifffile.imwrite(folder / "stack.tif", stack)
    asked = StackRequest(
        image=folder / "stack.tif",
        mask=folder / f"mask{suffix}",
        probability=folder / f"probability{suffix}" if probability else None,
        spacing_um=spacing_um,
    )
    request = PredictRequest(stacks=(asked,), cards=(card,))
    predict(request, EVALUATION.model_copy(update=changes), runtime_of(project))
    return asked.mask


def card(project: PredictionProject, loss: str, fold: int = 0) -> Path:
    return project.root / f"models/{loss}/fold_{fold}.json"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_resampled_training_is_repeated_and_mapped_back(
    project: PredictionProject, tmp_path: Path, dtype: str
) -> None:
    """Normalise, resample, predict, resample back: on the disk as on arrays, on the stack's own grid."""
    stack = np.random.default_rng(0).gamma(2, 20, (9, 40, 37)).clip(0, 250).astype(dtype)
    mask = read_stack(run(project, tmp_path, stack, card(project, "cbdice"), probability=True))
    grid, _ = grid_for(stack.shape, SPACING_UM, RESAMPLED.resample_to_um)
    assert grid != stack.shape
    image = apply_scale(resample(stack, grid), measure_scale(stack, RESAMPLED))
    expected = resample(predict_probability(blurring_network(), image, PATCH, 0.5), stack.shape)
    found = read_stack(tmp_path / "probability.tif")
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_array_equal(mask == 255, found > 0.5)
    assert 0.02 < (mask > 0).mean() < 0.98
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mask.tif", "probability.tif", "stack.tif"]


def test_the_slice_wise_resampling_is_the_whole_one(tmp_path: Path) -> None:
    """Finer, coarser and unchanged axes, alone and together."""
    stack = np.random.default_rng(1).random((9, 20, 17), dtype=np.float32)
    for shape in [(9, 10, 31), (4, 20, 17), (21, 20, 17), (5, 33, 6), (9, 20, 17), (1, 1, 1)]:
        with DiskVolume(tmp_path / "source", stack.shape, np.float32) as source:
            source.append(iter(stack))
            found = np.stack(list(resample_slices(source, shape, tmp_path / "scratch")))
        np.testing.assert_allclose(found, resample(stack, shape), atol=1e-6)


def test_small_parts_are_removed_by_their_size_in_µm3(project: PredictionProject, tmp_path: Path) -> None:
    """A part of fewer than 30 µm³ (7.5 voxels of 4 µm³) is gone, a larger one stays as it was."""
    stack = (np.random.default_rng(2).random((6, 30, 30)) > 0.93).astype(np.float32)
    labels, count = label(stack, structure=np.ones((3, 3, 3)))
    large = np.bincount(labels.ravel(), minlength=count + 1) * 4.0 >= 30
    large[0] = False
    assert 0 < large.sum() < count
    found = read_stack(run(project, tmp_path, stack, card(project, "dice_ce"), min_component_um3=30.0))
    np.testing.assert_array_equal(found == 255, large[labels])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".tif"])
@pytest.mark.parametrize(
    ("loss", "spacing_um"),
    [("dice_ce", SPACING_UM), ("cbdice", SPACING_UM), ("cbdice", (0.5, 6.0, 5.0)), ("cbdice", (8.0, 0.4, 0.5))],
    ids=["native", "resampled", "finer_in_plane", "finer_along_z"],
)
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_the_room_that_is_looked_for_is_the_room_that_is_taken(
    project: PredictionProject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    loss: str,
    spacing_um: tuple[float, float, float],
    suffix: str,
) -> None:
    """Every type and grid, with a probability beside: never more, and no less where nothing can be compressed."""
    taken: list[int] = []
    needed: list[int] = []
    leave = DiskVolume.__exit__

    def look(volume: DiskVolume, *error: Any) -> None:
        taken.append(sum(file.stat().st_size for file in tmp_path.iterdir() if file.name != "stack.tif"))
        leave(volume, *error)

    monkeypatch.setattr(DiskVolume, "__exit__", look)
    monkeypatch.setattr(Scratch, "refuse_full_disk", lambda _scratch, room: needed.append(room))
    stack = np.random.default_rng(0).gamma(2, 20, (5, 23, 21)).clip(0, 250).astype(dtype)
    wished = {"suffix": suffix, "spacing_um": spacing_um, "probability": True, "min_component_um3": 1.0}
    # patches side by side: that a voxel is predicted eight times takes time and no room
    run(project, tmp_path, stack, card(project, loss), **wished, overlap=0.0)
    assert max(taken) <= needed[0]
    if suffix == ".nii":
        assert max(taken) >= needed[0] - OVERHEAD_BYTES


def test_a_disk_without_room_is_refused_before_the_stack_is_read(
    project: PredictionProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight bytes a voxel for float64, four for the probability, three for masks; one less is too little."""
    stack = np.random.default_rng(0).random((20, 20, 20))
    needed = OVERHEAD_BYTES + stack.size * (8 + 4 + 3)
    disk = SimpleNamespace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: disk)
    with pytest.raises(CapillaryError, match="too little free space") as refused:
        run(project, tmp_path, stack, card(project, "dice_ce"))
    assert refused.value.code == ExitCode.MACHINE
    assert [file.name for file in tmp_path.iterdir()] == ["stack.tif"]
    disk.free = needed
    assert run(project, tmp_path, stack, card(project, "dice_ce")).exists()


def test_values_that_are_no_numbers_are_refused(project: PredictionProject, tmp_path: Path) -> None:
    """NaN in one slice: an error that names it, and no file."""
    stack = np.zeros((5, 20, 20), dtype=np.float32)
    stack[3, 2, 2] = np.nan
    with pytest.raises(DataError, match="slice 4"):
        run(project, tmp_path, stack, card(project, "dice_ce"))
    assert [file.name for file in tmp_path.iterdir()] == ["stack.tif"]


def test_folds_that_do_not_belong_together_are_refused(project: PredictionProject) -> None:
    """One fold was resampled, the other not: no image suits both."""
    cards = [read_card(card(project, "cbdice", fold)) for fold in (0, 1)]
    networks = find_networks(cards, Places(server=server_of(project)))
    with pytest.raises(DataError, match="cannot be combined"):
        load_ensemble(networks, torch.device("cpu"), BY_TORCH)


def server_of(project: PredictionProject) -> Server:
    return connect(runtime_of(project))


@pytest.mark.parametrize(
    ("reference", "folds"),
    [("capillary-cbdice", [0, 1]), ("capillary-cbdice@fold-1", [1]), ("capillary-cbdice/1", [0])],
)
def test_references_lead_to_cards(project: PredictionProject, reference: str, folds: list[int]) -> None:
    """A name means all of its folds, an alias and a version one; the cards are those in models/."""
    expected = [read_card(card(project, "cbdice", fold)) for fold in folds]
    assert [network.card for network in find_by_reference(reference, server_of(project))] == expected


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("capillary-cbdice@fold-9", "capillary-cbdice has no alias fold-9"),
        ("capillary-cbdice/9", "capillary-cbdice has no version 9"),
        ("nobody", "nobody"),
        ("nobody@fold-0", "nobody"),
    ],
)
def test_a_reference_to_nothing_is_refused(project: PredictionProject, reference: str, says: str) -> None:
    """With what is not there, alias, version or model, and exit code 4."""
    with pytest.raises(DataError, match=says):
        find_by_reference(reference, server_of(project))


@pytest.mark.parametrize("reference", ["", "a@b@c", "a/latest", "a/1/2"])
def test_a_reference_of_another_form_is_a_mistake_of_usage(project: PredictionProject, reference: str) -> None:
    """Exit code 2, with an example."""
    with pytest.raises(CapillaryError) as raised:
        find_by_reference(reference, server_of(project))
    assert raised.value.code == ExitCode.USAGE
