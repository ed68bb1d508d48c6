"""The keys of params.yaml that ingest reads. The launcher checks them with this model before any stage starts."""

from pydantic import BaseModel


class Ingest(BaseModel, frozen=True, extra="forbid", strict=True):
    """params.yaml [ingest]."""

    source: str


class IngestParams(BaseModel, frozen=True, extra="forbid", strict=True):
    """params.yaml as ingest sees it."""

    ingest: Ingest
