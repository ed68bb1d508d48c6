"""The model file for people takes a stack and answers with the mask of `capillary predict`, in Python and over HTTP."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
import tifffile
import torch
import yaml
from fastapi.testclient import TestClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from numpy.typing import NDArray

from stages.common.imaging.recipe import Recipe
from stages.common.imaging.stacks import read_stack
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from stages.common.tracking.model_files import mlflow_folder
from stages.predict.params import Evaluation
from stages.predict.predict import predict
from tests.support.models.networks import linear_network, package_of
from tests.support.models.prediction import PredictionProject
from tests.support.parts import REPOSITORY
from tests.support.tracking.tracked import embedded_runtime

SPACING_UM = (4.0, 1.0, 1.0)
PATCH = (4, 16, 16)
SHAPE = (5, 27, 23)
NATIVE = Recipe(normalisation="percentile", percentile_low=1, percentile_high=99, resample_to_um=None)
RESAMPLED = Recipe(normalisation="zscore", percentile_low=0, percentile_high=100, resample_to_um=(2.0, 1.5, 1.25))
RECIPES = {"dice_ce": NATIVE, "cbdice": RESAMPLED}
Served = Callable[[str], Any]


def blurring_network() -> torch.nn.Module:
    torch.manual_seed(1)
    return linear_network(0.6 * torch.rand(3, 3, 3), -2.0)


def vessels(dtype: str) -> NDArray[Any]:
    return np.random.default_rng(0).gamma(2, 20.3, SHAPE).clip(0, 250).astype(dtype)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> PredictionProject:
    """One network for stacks as they are, and one for resampled ones."""
    project = PredictionProject(tmp_path_factory.mktemp("served") / "project")
    for loss, recipe in RECIPES.items():
        project.register(blurring_network(), loss=loss, patch_voxels=PATCH, recipe=recipe)
    return project


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """What MLflow loads of the same networks, by loss."""
    models = {}
    for loss, recipe in RECIPES.items():
        with mlflow_folder(package_of(blurring_network(), patch_voxels=PATCH, recipe=recipe)) as folder:
            models[loss] = mlflow.pyfunc.load_model(str(folder))
    return models.__getitem__


@pytest.fixture
def client(served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], TestClient]:
    """The application behind `mlflow models serve`, by loss."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")  # which it sets for good
    return lambda loss: TestClient(scoring_server.init(served(loss)))


@pytest.mark.parametrize("flips", ["none", "in_plane"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("loss", RECIPES)
def test_it_gives_the_bytes_of_predict(
    project: PredictionProject, served: Served, tmp_path: Path, loss: str, dtype: str, flips: str
) -> None:
    """Mask and probability, normalised, resampled, cut, blended and cut at the threshold alike."""
    stack = vessels(dtype)
    tifffile.imwrite(tmp_path / "stack.tif", stack)
    files = {name: tmp_path / f"{name}.tif" for name in ("mask", "probability")}
    asked = StackRequest(image=tmp_path / "stack.tif", spacing_um=SPACING_UM, **files)
    evaluation = Evaluation(overlap=0.25, threshold=0.4, test_time_flips=flips, backend="torch", min_component_um3=None)
    uri = f"sqlite:///{project.root}/mlruns/mlflow.db"
    runtime = embedded_runtime(project.root / "state", stage="predict", tracking_uri=uri, artifact_root=None)
    predict(PredictRequest(stacks=(asked,), cards=(project.root / f"models/{loss}/fold_0.json",)), evaluation, runtime)

    params = {"overlap": 0.25, "threshold": 0.4, "test_time_flips": flips, "spacing_um": list(SPACING_UM)}
    model = served(loss)
    mask = model.predict(stack.astype(np.float64), params)
    probability = model.unwrap_python_model().predict(stack, {**params, "probability": True})
    assert (mask.dtype, probability.dtype) == (np.uint8, np.float32)
    np.testing.assert_array_equal(mask, read_stack(files["mask"]) // 255)
    assert probability.tobytes() == read_stack(files["probability"]).tobytes()
    assert 0.02 < mask.mean() < 0.98


def test_a_request_in_json_is_answered_with_the_mask(client: Callable[[str], TestClient], served: Served) -> None:
    """As docs/models.md sends it, of whole numbers and fractions, with params and without."""
    stack = vessels("uint16")
    answer = client("dice_ce").post("/invocations", json={"inputs": stack.tolist()})
    assert answer.status_code == 200, answer.text
    expected = served("dice_ce").predict(stack.astype(np.float64))
    assert answer.json() == {"predictions": expected.tolist()}
    params = {"spacing_um": [4, 1, 1], "probability": True}
    answer = client("cbdice").post("/invocations", json={"inputs": vessels("float32").tolist(), "params": params})
    expected = served("cbdice").unwrap_python_model().predict(vessels("float32"), params)
    assert np.array_equal(np.asarray(answer.json()["predictions"], np.float32), expected)


@pytest.mark.parametrize(
    ("loss", "inputs", "params", "words"),
    [
        ("dice_ce", np.zeros((1, 1, 4, 16, 16)), {}, "does not match expected shape"),
        ("dice_ce", np.full((4, 16, 16), np.nan), {}, "NaN or infinite"),
        ("dice_ce", np.zeros((0, 16, 16)), {}, "axes z, y, x"),
        ("dice_ce", np.ones((4, 16, 16)), {}, "no contrast"),
        ("dice_ce", vessels("uint8"), {"threshold": 1.5}, "`threshold`"),
        ("cbdice", vessels("uint8"), {}, "spacing of this stack is unknown"),
        ("cbdice", vessels("uint8"), {"spacing_um": [1.0, 1.0]}, "spacing_um"),
        ("cbdice", vessels("uint8"), {"spacing_um": [0.01, 1.0, 1.0]}, "no voxel on an axis"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_segmented_is_refused(
    served: Served, loss: str, inputs: NDArray[Any], params: dict[str, Any], words: str
) -> None:
    """With an error that a server answers as 400, and with its remedy."""
    with pytest.raises(MlflowException, match=words) as caught:
        served(loss).predict(inputs.astype(np.float64), params)
    assert caught.value.get_http_status_code() == 400


@pytest.mark.parametrize("loss", RECIPES)
def test_its_example_is_a_request_that_is_answered(client: Callable[[str], TestClient], loss: str) -> None:
    """Small, with something to see, and complete: a network that resamples is told the spacing."""
    with mlflow_folder(package_of(blurring_network(), patch_voxels=PATCH, recipe=RECIPES[loss])) as folder:
        request = (folder / "serving_input_example.json").read_text()
        assert (folder / "input_example.json").stat().st_size < 10_000
    answer = client(loss).post("/invocations", content=request, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    mask = np.asarray(answer.json()["predictions"])
    assert 0 < mask.mean() < 1


def test_the_defaults_are_those_of_params_yaml(served: Served) -> None:
    """Of the file that capillary comes with."""
    shipped = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["evaluation"]
    defaults = {spec.name: spec.default for spec in served("dice_ce").metadata.get_params_schema()}
    assert {name: shipped[name] for name in defaults if name in shipped} == {
        name: defaults[name] for name in ("threshold", "overlap", "test_time_flips")
    }
