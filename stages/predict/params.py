"""The params that predict sees: how a volume is predicted, as evaluate does it."""

from typing import Annotated, Literal

from pydantic import Field

from stages.common.params import Params


class Evaluation(Params):
    """What of params.yaml's `evaluation` makes a mask from an image."""

    overlap: Annotated[float, Field(ge=0, lt=1)]  # share of a patch that its neighbour covers too
    threshold: Annotated[float, Field(ge=0, lt=1)]  # foreground where the probability is above it
    test_time_flips: Literal["none", "in_plane", "all"]
    backend: Literal["auto", "torch", "openvino"]  # what computes on a CPU
    min_component_um3: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None


class PredictParams(Params):
    """params.yaml as predict sees it."""

    evaluation: Evaluation
