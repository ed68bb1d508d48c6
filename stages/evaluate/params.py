"""The params that dvc.yaml declares for evaluate."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.common.cell_name import CellName, every_cell
from stages.common.metrics import METRICS, SHORT_NAMES
from stages.common.params import Params, nearest


class Training(Params):
    """Which cells were trained: every loss on every fold, from the first seed and from each further one."""

    losses: tuple[str, ...]
    folds: tuple[Annotated[int, Field(ge=0)], ...]
    seed: Annotated[int, Field(ge=0)]
    seeds: tuple[Annotated[int, Field(ge=0, lt=1 << 63)], ...]

    @property
    def every_seed(self) -> tuple[int, ...]:
        """The first one and the additional ones."""
        return (self.seed, *self.seeds)

    @property
    def cells(self) -> tuple[CellName, ...]:
        """All of them."""
        return every_cell(self.losses, self.folds, self.seeds)

    @field_validator("losses", "folds")
    @classmethod
    def _each_once(cls, values: tuple[str | int, ...]) -> tuple[str | int, ...]:
        if not values:
            raise ValueError("the list is empty, so there is nothing to evaluate")
        if len(set(values)) != len(values):
            raise ValueError("an entry occurs twice in the list")
        return values

    @field_validator("seeds")
    @classmethod
    def _other_seeds(cls, seeds: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed occurs twice in the list")
        if info.data.get("seed") in seeds:
            raise ValueError(f"lists {info.data['seed']}, which is training.seed; list only additional seeds here")
        return seeds


PositiveUm = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Evaluation(Params):
    """How volumes are predicted, what is measured and how sure the means are."""

    overlap: Annotated[float, Field(ge=0, lt=1)]  # share of a patch that its neighbour covers too
    threshold: Annotated[float, Field(ge=0, lt=1)]  # foreground where the probability is above it
    test_time_flips: Literal["none", "in_plane", "all"]
    backend: Literal["auto", "torch", "openvino"]  # what computes on a CPU
    # smaller connected parts of a mask are removed; auto: the size is chosen on the other folds (small_parts.py)
    min_component_um3: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["auto"] | None
    metrics: tuple[str, ...]  # of stages/common/metrics.py; the first ranks losses and volumes and is tested
    nsd_tolerance_um: Annotated[float, Field(ge=0, allow_inf_nan=False)]  # a border this near counts as found
    radius_bands_um: tuple[PositiveUm, PositiveUm]  # vessels thinner than the first, between both, thicker
    bootstrap_iterations: Annotated[int, Field(ge=1)]  # draws of a paired test over many groups
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0)]

    @property
    def chooses_size(self) -> bool:
        """Whether the size of small parts is chosen on the other folds."""
        return self.min_component_um3 == "auto"

    @property
    def fixed_size_um3(self) -> float:
        """The size of small parts, 0: none are removed."""
        return 0.0 if self.min_component_um3 is None or self.min_component_um3 == "auto" else self.min_component_um3

    @field_validator("radius_bands_um")
    @classmethod
    def _ascending(cls, edges: tuple[float, float]) -> tuple[float, float]:
        if edges[0] >= edges[1]:
            raise ValueError("the first radius must be below the second")
        return edges

    @field_validator("metrics")
    @classmethod
    def _known_and_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("the list is empty, so there is nothing to measure")
        names = tuple(SHORT_NAMES.get(name, name) for name in names)
        for name in names:
            if name not in METRICS:
                raise ValueError(f"unknown metric `{name}`; {nearest(name, list(METRICS))}")
        if len(set(names)) != len(names):
            raise ValueError("a metric occurs twice in the list")
        return names


class EvaluateParams(Params):
    """params.yaml as evaluate sees it."""

    training: Training
    evaluation: Evaluation
