"""The keys of params.yaml that train reads."""

from pydantic import BaseModel, Field


class Train(BaseModel, frozen=True, extra="forbid", strict=True):
    """params.yaml [train]."""

    regularisation: float = Field(gt=0)
    max_iterations: int = Field(gt=0)
    model_name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")


class TrainParams(BaseModel, frozen=True, extra="forbid", strict=True):
    """params.yaml as train sees it."""

    train: Train
