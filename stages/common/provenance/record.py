"""provenance.json: all that decides a run's result, in a form that another version of this program can check."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from stages.common.errors import DataError
from stages.common.runtime import Provenance

FOLDER = "provenance"  # of a run's artifacts
RECORD = "provenance.json"
DIFF = "changes.diff"
PARAMS = "params.yaml"
LOCK = "dvc.lock"
COMMIT_TAG, DIRTY_TAG, ENVIRONMENT_TAG = "capillary.commit", "capillary.dirty", "capillary.environment"
MOST_BYTES: Mapping[str, int] = {RECORD: 1 << 20, DIFF: 2 << 20, PARAMS: 1 << 20, LOCK: 8 << 20}

_Text = Annotated[str, Field(max_length=4096)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Machine(_Part):
    """What computed. `cpu_flags` are the instruction sets that kernels choose by; `devices` the GPUs, if they did."""

    system: _Text
    cpu: _Text
    cpu_flags: tuple[_Text, ...]
    cores: PositiveInt
    devices: tuple[_Text, ...] = ()


class Software(_Part):
    """`packages` are all that were installed; `kernels` is the instruction set that torch's own kernels use."""

    python: _Text
    packages: Annotated[Mapping[_Text, _Text], Field(max_length=5000)]
    torch: _Text
    torch_cuda: _Text
    kernels: _Text


class Computing(_Part):
    """How it was computed. `resumed_after` is how many epochs came from a checkpoint, perhaps of another machine."""

    device: _Text
    threads: PositiveInt
    processes: PositiveInt
    precision: _Text
    switches: _Text
    profile: _Text
    seeds: Mapping[_Text, int]
    resumed_after: NonNegativeInt = 0


class ProvenanceRecord(_Part):
    """One training or evaluation. `stage` is its address in dvc.yaml; `host` is None for one started by hand."""

    version: Literal[1] = 1
    stage: _Text
    fingerprint: _Text
    data_fingerprint: _Text
    code_fingerprint: _Text
    host: Provenance | None
    machine: Machine
    software: Software
    computing: Computing


def record_bytes(record: ProvenanceRecord) -> bytes:
    """The content of provenance.json."""
    return record.model_dump_json(indent=2).encode() + b"\n"


def read_record(content: bytes, origin: object) -> ProvenanceRecord:
    """`content` as a record; it may come from a registry. Raises DataError naming `origin` when it is not one."""
    try:
        return ProvenanceRecord.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the whole file"
        raise DataError(
            f"the provenance of {origin} cannot be read",
            remedy="use the version of capillary that trained it; if that cannot read it either, the record was "
            "changed",
            value=f"{place}: {fault['msg']}",
        ) from error


def short_tags(host: Provenance | None) -> dict[str, str]:
    """What people filter runs and versions by; nothing for a stage that was started by hand."""
    if host is None:
        return {}
    tags = {DIRTY_TAG: str(host.dirty).lower(), ENVIRONMENT_TAG: ", ".join(host.environment)}
    return {COMMIT_TAG: host.commit, **tags} if host.commit else tags
