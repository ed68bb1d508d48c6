"""What a registered network is, as a small JSON file next to its weights: enough to build it without unpickling.

The file is untrusted. Every number in it is bounded, unknown keys are refused, and the network that it describes is
built without memory first (loading.py), so a description cannot ask for more than its weights' file holds.
"""

import json
from importlib import metadata
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from stages.common.errors import DamagedError, DataError
from stages.common.imaging.recipe import Recipe, recipe_from
from stages.common.networks.plan import NetworkPlan
from stages.common.params import Params

DESCRIPTION, WEIGHTS = "description.json", "weights.safetensors"
FILES = (DESCRIPTION, WEIGHTS)  # of a network, wherever it is kept
DESCRIPTION_BYTES = 1 << 16
_PACKAGES = ("torch", "monai", "safetensors")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,200}$")]
Odd = Literal[1, 3, 5, 7]
Step = Literal[1, 2, 3, 4]
Extent = Annotated[int, Field(ge=1, le=1 << 14)]
Width = Annotated[int, Field(ge=1, le=1 << 12)]
LEVELS = Field(min_length=2, max_length=8)


class DescribedPlan(Params):
    """A NetworkPlan (plan.py); one entry per level."""

    patch_voxels: tuple[Extent, Extent, Extent]
    filters: Annotated[tuple[Width, ...], LEVELS]
    kernels: Annotated[tuple[tuple[Odd, Odd, Odd], ...], LEVELS]
    strides: Annotated[tuple[tuple[Step, Step, Step], ...], LEVELS]

    @model_validator(mode="after")
    def _one_entry_per_level(self) -> Self:
        if not len(self.filters) == len(self.kernels) == len(self.strides):
            raise ValueError("filters, kernels and strides need one entry per level each")
        return self


class ModelDescription(Params):
    """One registered network. `ties` maps a stored tensor to its other names in the state dict.

    `packages` are the versions that wrote the weights; they are for people and decide nothing.
    """

    format: Literal[1]
    architecture: Name
    channels_in: Literal[1]
    channels_out: Literal[2]
    plan: DescribedPlan
    precision: Literal["fp32", "bf16", "fp16"]
    recipe: dict[str, Any]
    ties: Annotated[dict[Name, Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]], Field(max_length=4096)]
    packages: Annotated[dict[Name, Annotated[str, Field(max_length=100)]], Field(max_length=32)]

    @field_validator("recipe")
    @classmethod
    def _is_recipe(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        try:
            recipe_from(recipe, DESCRIPTION)
        except DataError as error:
            raise ValueError(error.what) from error
        return recipe

    def network_plan(self) -> NetworkPlan:
        """The plan from which the architecture is built."""
        return NetworkPlan(**dict(self.plan))

    def preparation(self) -> Recipe:
        """How images are prepared for the network."""
        return recipe_from(self.recipe, DESCRIPTION)


def describe(
    architecture: str, plan: NetworkPlan, *, precision: str, recipe: dict[str, Any], ties: dict[str, tuple[str, ...]]
) -> ModelDescription:
    """The description of a network of `architecture` and `plan`, with the versions that are installed here."""
    return ModelDescription(
        format=1,
        architecture=architecture,
        channels_in=1,
        channels_out=2,
        plan=DescribedPlan(**plan.as_dict()),
        precision=precision,  # type: ignore[arg-type]  # validated here
        recipe=json.loads(json.dumps(recipe)),  # tuples become lists, as they are read
        ties=ties,
        packages={package: metadata.version(package) for package in _PACKAGES},
    )


def description_bytes(description: ModelDescription) -> bytes:
    """`description` as JSON; equal descriptions give equal bytes."""
    return description.model_dump_json(indent=2).encode() + b"\n"


def read_description(content: bytes, origin: str) -> ModelDescription:
    """The description in `content`. Raises DamagedError, naming `origin` and the key, for anything else."""
    try:
        if len(content) > DESCRIPTION_BYTES:
            raise ValueError(f"it has {len(content):,} bytes, and at most {DESCRIPTION_BYTES:,} are read")
        return ModelDescription.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise _damaged(origin, f"{place}: {first['msg']}", repr(first["input"])[:200]) from error
    except ValueError as error:
        raise _damaged(origin, str(error), None) from error


def _damaged(origin: str, why: str, value: str | None) -> DamagedError:
    return DamagedError(
        f"the description of a model is wrong: {why}",
        remedy="train the model again, or, if a newer capillary wrote it, use that one",
        file=origin,
        value=value,
    )
