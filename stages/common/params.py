"""Typed, frozen params: a stage reads params.yaml of its working folder into the model in its own params.py."""

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from stages.common.errors import ParamsError
from stages.common.text import without_login

PARAMS_FILE = Path("params.yaml")
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

# keys that params.yaml had once → what is in their place
RETIRED_KEYS = {
    "evaluation.bootstrap": "intervals are Student's, corrected for skewness, not bootstrapped (docs/metrics.md)"
}

# pydantic's names of errors: what was expected there
_LISTS = ("tuple_type", "list_type")
_NUMBERS = ("float_type", "int_type", "float_parsing", "int_parsing")
_SWITCHES = ("bool_type", "bool_parsing")


class Params(BaseModel):
    """Base of every params model: complete, frozen, strict (no `"3"` for 3), unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


ParamsModel = TypeVar("ParamsModel", bound=BaseModel)


def load_params(model: type[ParamsModel], file: Path = PARAMS_FILE) -> ParamsModel:
    """`file` as `model`; raises ParamsError naming section, key, value and remedy."""
    try:
        data = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise ParamsError(f"{file} is not YAML: {error}", remedy="correct the line named above", file=file) from error
    return validate_params(model, data, str(file))


def validate_params(model: type[ParamsModel], data: object, origin: str) -> ParamsModel:
    """`data` as `model`. `origin` is the name under which the user knows the file."""
    try:
        # through JSON, where strict mode still takes a list for a tuple and a string for an enum
        return model.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        # a misspelt key is two errors, of which the unknown one tells what to do
        errors = [_without_choices(each, data) for each in error.errors()]
        first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
        others = [each for each in errors if each is not first and each["loc"] == first["loc"]]
        raise _explain(model, first, origin, others) from error


def nearest(name: str, known: list[str]) -> str:
    """A question naming the entry of `known` nearest to `name`, or the list of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else f"known: {', '.join(sorted(known))}"


def _without_choices(error: ErrorDetails, data: object) -> ErrorDetails:
    """`error` at the keys that are in `data`: pydantic adds names of its own, such as `constrained-float`, where a
    value may be of several types.
    """
    place: list[int | str] = []
    for part in error["loc"]:
        if isinstance(data, dict) or (isinstance(data, list | tuple) and isinstance(part, int)):
            place.append(part)
            data = _inside(data, part)
    return {**error, "loc": tuple(place)}


def _inside(data: Any, part: int | str) -> object:
    try:
        return data[part]
    except LookupError:  # a key that is missing
        return None


def _explain(
    model: type[BaseModel], error: ErrorDetails, origin: str, others: Sequence[ErrorDetails] = ()
) -> ParamsError:
    """`others` are what else the same value could have been."""
    *section, key = [str(part) for part in error["loc"]] or ["?"]
    place = f"{origin} [{'.'.join(section)}]" if section else origin
    if error["type"] == "extra_forbidden":
        return ParamsError(
            f"{place} unknown key `{key}`; {nearest(key, _keys_at(model, section))}",
            remedy=f"rename or remove `{key}`",
            value=error["input"],
        )
    if error["type"] == "missing" and isinstance(error["loc"][-1], int):
        name = ".".join(section)
        return ParamsError(
            f"{origin} `{name}`: a longer list is meant",
            remedy=f"write as many entries as docs/params.md says: `{name}: […]` in {origin}",
            value=repr(error["input"]),
        )
    if error["type"] == "missing":
        declare = " and declare it in dvc.yaml" if Path(origin).name == PARAMS_FILE.name else ""
        return ParamsError(
            f"{place} key `{key}` is missing, or not visible to this stage",
            remedy=f"set `{'.'.join([*section, key])}` in {origin}{declare}",
        )
    what, remedy = _plainly(error, ".".join([*section, key]))
    choices = "" if remedy else "".join(f", or {each['msg'][:1].lower()}{each['msg'][1:]}" for each in others)
    return ParamsError(
        f"{place} `{key}`: {what}{choices}",
        remedy=remedy or f"correct `{'.'.join([*section, key])}` in {origin}",
        value=without_login(repr(error["input"])),
    )


def _plainly(error: ErrorDetails, key: str) -> tuple[str, str | None]:
    """(what is wrong, the remedy where it is more than "correct it") of a value that has the wrong type."""
    value = error["input"]
    if error["type"] in _LISTS and isinstance(value, str):
        return "a list is meant", f"write `{key}: [{value}]`; for one run: dvc exp run -S '{key}=[{value}]'"
    if error["type"] in _LISTS and isinstance(value, int | float):
        return "a list is meant", f"write its entries in brackets: `{key}: [{value}, …]`; docs/params.md says how many"
    if error["type"] in _NUMBERS and isinstance(value, str) and (number := _number(value)) is not None:
        kind = "an integer" if error["type"].startswith("int") else "a number"
        return f"should be {kind}, but YAML reads it as text", f"write `{key}: {number}`, without quotes"
    if error["type"] in _SWITCHES and isinstance(value, str | int):
        return "a switch is meant", f"write `{key}: true` or `{key}: false`, without quotes"
    return error["msg"].removeprefix("Value error, "), None


def _number(text: str) -> str | None:
    """`text` as YAML 1.1 and 1.2 both read it as a number: with a point before an exponent. None for other text."""
    plain = text.strip().lower()
    if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", plain):
        return None
    mantissa, exponent, power = plain.partition("e")
    if not exponent:
        return plain
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{power if power[0] in '+-' else '+' + power}"


def _keys_at(model: type[BaseModel], section: list[str]) -> list[str]:
    annotation: Any = model
    for name in section:
        # a collection of models has its model as the last argument: dict[str, Model], tuple[Model, ...]
        inner = [each for each in get_args(annotation) if each is not Ellipsis]
        annotation = inner[-1] if inner else annotation.model_fields[name].annotation
    return list(annotation.model_fields)
