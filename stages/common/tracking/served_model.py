"""What `mlflow models serve` and `mlflow.pyfunc.load_model` run, for people who use a model with MLflow alone.

It travels with the model, as does the code that it imports, so it needs no checkout. capillary itself reads description
and weights only and never runs what a registry holds.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ParamSchema, ParamSpec
from numpy.typing import NDArray
from pydantic import Field

from stages.common.errors import CapillaryError, DataError
from stages.common.imaging.recipe import Recipe
from stages.common.imaging.zyx import Shape
from stages.common.inference import AUTOCAST, patch_probability
from stages.common.layout import lay_out_for_prediction
from stages.common.networks.description import read_description
from stages.common.networks.loading import load_network
from stages.common.params import Params, validate_params
from stages.common.tiling.in_memory import probability_of
from stages.common.tiling.resampling import target_grid

# with the values of the params.yaml that capillary comes with; no spacing: [] (MLflow has no other word for none)
PARAMS = ParamSchema(
    [
        ParamSpec("threshold", "double", 0.5),
        ParamSpec("overlap", "double", 0.5),
        ParamSpec("test_time_flips", "string", "none"),
        ParamSpec("spacing_um", "double", [], (-1,)),
        ParamSpec("probability", "boolean", False),
    ]
)
Share = Annotated[float, Field(ge=0, lt=1)]
Micrometres = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ServedParams(Params):
    """What a request says about its stack."""

    threshold: Share
    overlap: Share
    test_time_flips: Literal["none", "in_plane", "all"]
    spacing_um: tuple[Micrometres, Micrometres, Micrometres] | tuple[()]
    probability: bool


class Segmenter(PythonModel):
    """A stack (z, y, x) to its mask or probability, as `capillary predict` makes them with this network alone."""

    def load_context(self, context: Any) -> None:
        """Read the two files that came with the model."""
        description, weights = (Path(context.artifacts[name]) for name in ("description", "weights"))
        described = read_description(description.read_bytes(), description.name)
        network = load_network(described, weights.read_bytes(), weights.name)
        torch.backends.cudnn.deterministic = True
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = AUTOCAST[described.precision]
        self._network = network.to(self._device)
        lay_out_for_prediction(self._network, self._dtype)
        self._recipe, self._patch_voxels = described.preparation(), described.plan.patch_voxels

    def predict(self, model_input, params=None):  # type: ignore[no-untyped-def, override]  # MLflow would take hints for a schema
        """The mask of a stack (z, y, x), uint8 0 and 1, or its foreground probability, float32 in [0, 1].

        Raises MlflowException, which a server answers with 400, for what cannot be segmented.
        """
        try:
            values = {**{spec.name: spec.default for spec in PARAMS}, **(params or {})}
            asked = validate_params(ServedParams, values, "params")
            probability = self._probability(_stack(model_input), asked)
        except CapillaryError as error:
            raise MlflowException.invalid_parameter_value(error.report()) from error
        return probability if asked.probability else (probability > asked.threshold).astype(np.uint8)

    def _probability(self, stack: NDArray[Any], asked: ServedParams) -> NDArray[np.float32]:
        def predict(patches: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                return patch_probability(self._network, patches.to(self._device), self._dtype, asked.test_time_flips)

        grid = _grid(stack, asked, self._recipe)
        return probability_of(stack, grid, self._recipe, self._patch_voxels, asked.overlap, predict)


def _stack(given: Any) -> NDArray[Any]:
    """`given` as an array in this machine's order of bytes. Raises DataError unless it is a stack of numbers."""
    stack = np.asarray(given)
    if stack.ndim != 3 or not stack.size or stack.dtype.kind not in "biuf":
        raise DataError(
            "the model takes one stack of numbers with the axes z, y, x",
            remedy="send a single channel of a single stack; it is normalised and cut into patches here",
            value=f"shape {stack.shape}, {stack.dtype}",
        )
    if not np.isfinite(stack).all():
        raise DataError("the stack holds NaN or infinite values", remedy="replace them (by the background's value)")
    return _narrow(stack.astype(stack.dtype.newbyteorder("="), copy=False))


def _narrow(stack: NDArray[Any]) -> NDArray[Any]:
    """As float32 where that holds a stack of float64: the type in which JSON and MLflow's schema bring all numbers."""
    if stack.dtype.kind != "f" or stack.dtype.itemsize < 8:
        return stack
    with np.errstate(over="ignore"):
        narrow = stack.astype(np.float32)
    return narrow if np.array_equal(narrow, stack) else stack.astype(np.float64)


def _grid(stack: NDArray[Any], asked: ServedParams, recipe: Recipe) -> Shape:
    z, y, x = stack.shape
    if recipe.resample_to_um is None:
        return z, y, x
    if not asked.spacing_um:
        raise DataError(
            "the spacing of this stack is unknown, and the model resamples stacks to that of its training",
            remedy='give it in µm, z, y, x: "params": {"spacing_um": [5, 0.994, 0.994]}',
        )
    return target_grid((z, y, x), asked.spacing_um, recipe)


set_model(Segmenter())
