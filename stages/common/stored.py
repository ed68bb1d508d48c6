"""Records that are written to disk and read by a later run: pydantic models with the version of their form."""

from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

from stages.common.errors import DamagedError, DataError
from stages.common.params import Params

_VERSIONS = ("version", "form", "format")  # what the keys are called


class Stored(Params):
    """A record of the first version, which a file without `version` is too."""

    version: Literal[1] = 1


Kind = TypeVar("Kind", bound=BaseModel)


def stored_from(kind: type[Kind], content: bytes, what: str, *, file: object, remedy: str) -> Kind:
    """`content` as a `kind`. Raises DataError for one of a newer version, DamagedError for anything else.

    `what` names the record, and `remedy` what to do without it.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise unreadable(error, what, file=file, remedy=remedy) from error


def unreadable(error: ValidationError, what: str, *, file: object, remedy: str) -> DataError:
    """Why a record cannot be read, with the first fault of it."""
    faults = error.errors(include_url=False)
    versions = (fault["input"] for fault in faults if fault["loc"] and fault["loc"][-1] in _VERSIONS)
    newer = next((version for version in versions if type(version) is int and version > 1), None)
    if newer is not None:
        remedy = f"use the capillary that wrote it, or a newer one; or {remedy}"
        return DataError(f"{what} was written by a newer capillary", file=file, value=f"version {newer}", remedy=remedy)
    place = ".".join(map(str, faults[0]["loc"])) or "the file"
    return DamagedError(f"{what} cannot be read", file=file, value=f"{place}: {faults[0]['msg']}", remedy=remedy)
