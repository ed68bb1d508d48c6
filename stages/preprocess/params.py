"""The params that dvc.yaml declares for preprocess."""

from typing import Annotated, Literal, Self

from pydantic import Field, PlainValidator, model_validator

from stages.common.held_out import HeldOutGroups, parse_test_groups
from stages.common.imaging.recipe import Recipe
from stages.common.params import Params

Micrometres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Percentile = Annotated[float, Field(ge=0, le=100)]


class Preprocess(Params):
    """How stacks become volumes that a network reads, and which fold validates each."""

    normalisation: Literal["percentile", "zscore", "none"]
    percentile_low: Percentile
    percentile_high: Percentile
    resample_to_um: tuple[Micrometres, Micrometres, Micrometres] | None  # z, y, x
    max_volumes: Annotated[int, Field(ge=1)] | None  # the first so many by id; null: all
    num_folds: Annotated[int, Field(ge=1)]  # 1 with one's own splits file only
    splits_file: Annotated[str, Field(min_length=1)]
    test_groups: Annotated[HeldOutGroups, PlainValidator(parse_test_groups)]  # that no fold sees
    seed: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _percentiles_in_order(self) -> Self:
        if self.percentile_low >= self.percentile_high:
            raise ValueError(
                f"percentile_low ({self.percentile_low}) must be below percentile_high ({self.percentile_high})"
            )
        return self

    def recipe(self) -> Recipe:
        """What of it a stack that comes later must go through, too."""
        return Recipe(
            normalisation=self.normalisation,
            percentile_low=self.percentile_low,
            percentile_high=self.percentile_high,
            resample_to_um=self.resample_to_um,
        )


class PreprocessParams(Params):
    """params.yaml as preprocess sees it."""

    preprocess: Preprocess
