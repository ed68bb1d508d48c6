"""The keys of params.yaml that preprocess reads."""

from pydantic import BaseModel, Field


class Preprocess(BaseModel, frozen=True, extra="forbid", strict=True):
    """params.yaml [preprocess]."""

    test_share: float = Field(gt=0, lt=1)
    seed: int


class PreprocessParams(BaseModel, frozen=True, extra="forbid", strict=True):
    """params.yaml as preprocess sees it."""

    preprocess: Preprocess
