"""The params that dvc.yaml declares for ingest."""

from typing import Annotated, Literal

from pydantic import Field, PlainValidator, ValidationInfo, field_validator

from stages.common.dataset.hub import FORM, SCHEME, parse_address
from stages.common.imaging.labels.rule import LabelMeaning, LabelRule, Number, exact_number, number_text, parse_rule
from stages.common.params import Params
from stages.common.text import without_login

Micrometres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SCHEMES = ("s3", "gs", "hf", "https", "http")


def _check_address(source: str) -> None:
    try:
        parse_address(source)
    except ValueError as error:
        raise ValueError(f"{error}; write {FORM}") from error


def _check_login(source: str) -> None:
    """The source is written to params.yaml and dvc.lock, which are committed."""
    if without_login(source) != source:
        raise ValueError(
            "holds a login, which dvc.lock and Git would keep; fetch the archive to this machine and name the file "
            "here, or use s3://, whose login is in .env"
        )


class Ingest(Params):
    """Where the stacks come from, and what happens when some are invalid."""

    source: Annotated[str, Field(min_length=1)]
    on_invalid: Literal["fail", "skip"]
    # world: a label must lie on its image by their headers; voxels: the arrays' own order counts
    label_geometry: Literal["world", "voxels"]
    label: Annotated[LabelRule, PlainValidator(parse_rule)]
    ignore_value: Annotated[float, Field(allow_inf_nan=False)] | int | None  # of voxels that nobody labelled

    @property
    def meaning(self) -> LabelMeaning:
        """What the values of every label mean."""
        return LabelMeaning(rule=self.label, ignore_value=self.ignore_value)

    @field_validator("ignore_value")
    @classmethod
    def _ignored_is_exact_and_no_vessel(cls, given: Number | None, info: ValidationInfo) -> Number | None:
        ignored = None if given is None else exact_number(given)
        rule = info.data.get("label")
        if ignored is not None and rule is not None and rule.kind == "values" and ignored in rule.values:
            raise ValueError(f"label names {number_text(ignored)} as vessel, and ignore_value as not labelled")
        return ignored

    # of images that hold several: an index from 0, or a name; null: a stack must have one
    channel: Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)] | None

    # of OME-Zarr pyramids, images and labels: the level with the nearest spacing (z, y, x); null: the finest
    level_um: tuple[Micrometres, Micrometres, Micrometres] | None

    @field_validator("channel", mode="before")
    @classmethod
    def _no_truth_value(cls, channel: object) -> object:
        if isinstance(channel, bool | float):
            raise ValueError("is neither an index from 0, nor a channel's name, nor null")
        return channel

    @field_validator("source")
    @classmethod
    def _known_scheme(cls, source: str) -> str:
        scheme, separator, rest = source.partition("://")
        if separator and (scheme not in SCHEMES or not rest):
            known = ", ".join(f"{known}://…" for known in SCHEMES)
            raise ValueError(f"is neither a folder, nor an archive, nor one of {known}")
        if separator:
            _check_login(source)
        if separator and scheme == SCHEME:
            _check_address(source)
        return source


class IngestParams(Params):
    """params.yaml as ingest sees it."""

    ingest: Ingest
