"""The params that dvc.yaml declares for ingest."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from stages.common.params import Params

SCHEMES = ("s3", "gs", "hf", "https", "http")


class Ingest(Params):
    """Where the stacks come from, and what happens when some are invalid."""

    source: Annotated[str, Field(min_length=1)]
    on_invalid: Literal["fail", "skip"]
    # world: a label must lie on its image by their headers; voxels: the arrays' own order counts
    label_geometry: Literal["world", "voxels"]

    @field_validator("source")
    @classmethod
    def _known_scheme(cls, source: str) -> str:
        scheme, separator, rest = source.partition("://")
        if separator and (scheme not in SCHEMES or not rest):
            known = ", ".join(f"{known}://…" for known in SCHEMES)
            raise ValueError(f"is neither a folder, nor an archive, nor one of {known}")
        return source


class IngestParams(Params):
    """params.yaml as ingest sees it."""

    ingest: Ingest
