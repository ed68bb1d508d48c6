"""What the value of a setting may be, and how one that is not is refused: by its variable, with what to set it to."""

import os
import re
from collections.abc import Callable, Iterable
from typing import Annotated, NoReturn

from pydantic import BeforeValidator, ValidationInfo
from pydantic_core import PydanticUseDefault

from stages.common.errors import UsageError
from stages.common.params import nearest
from stages.common.text import without_login

PREFIX = "CAPILLARY_"
OFF = "off"


def variable_of(setting: str) -> str:
    """Its variable: grace_s is CAPILLARY_GRACE_S."""
    return f"{PREFIX}{setting.upper()}"


def refuse(name: str, what: str, value: str, remedy: str) -> NoReturn:
    """Raise CapillaryError (usage) for the variable `name`; the value is shown without a login."""
    raise UsageError(f"{name} {what}", value=without_login(value), remedy=f"set {name} to {remedy}")


def variable_in(info: ValidationInfo) -> str:
    """The variable of the setting that is being checked."""
    return variable_of(str(info.field_name))


def one_of(name: str, value: str, names: Iterable[str]) -> str:
    """`value`, which the variable `name` has, if it is among `names`."""
    known = list(names)
    if value not in known:
        what = f"is not one of its values; {nearest(value, known)}"
        refuse(name, what, value, f"one of {', '.join(known)}, or unset it")
    return value


def choice(names: Iterable[str], read: Callable[[str], object] = str) -> BeforeValidator:
    """One of `names`, which `read` makes a value of."""

    def check(value: object, info: ValidationInfo) -> object:
        return read(one_of(variable_in(info), value, names)) if isinstance(value, str) else value

    return BeforeValidator(check)


def check_count(value: object, info: ValidationInfo) -> object:
    """A whole number of 1 or more; the default when it is auto."""
    if not isinstance(value, str):
        return value
    if value == "auto":
        raise PydanticUseDefault
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < 1:
        refuse(variable_in(info), "is not a number of 1 or more", value, "a whole number, or unset it")
    return int(value)


def check_amount(value: object, info: ValidationInfo) -> object:
    """A number above 0, such as 0.5."""
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) or not 0 < float(value) < float("inf"):
        refuse(variable_in(info), "is not a number above 0", value, "a number such as 2 or 0.5, or unset it")
    return float(value)


def check_interval(value: object, info: ValidationInfo) -> object:
    """Seconds, or off."""
    return None if value == OFF else check_amount(value, info)


def check_lineage(value: object, info: ValidationInfo) -> object:
    """file:PATH, a server's URL, or off."""
    remedy = "file:lineage.jsonl or http://host:5000, or unset it"
    return _formed(value, info, r"file:\S.*|https?://\S+", "is neither a file nor a server", remedy)


def check_shared_cache(value: object, info: ValidationInfo) -> object:
    """The name of a remote in .dvc/config, `default` or off."""
    remedy = "the name of one of DVC's remotes (`dvc remote list`), default or off"
    return _formed(value, info, r"[\w.-]+", "is not the name of a remote", remedy)


def check_pushgateway(value: object, info: ValidationInfo) -> object:
    """A Pushgateway's URL, or off."""
    remedy = "http://localhost:9091 or the like, without a login, or unset it"
    return _formed(value, info, r"https?://[^\s@]+", "is not a Pushgateway's URL", remedy)


def _formed(value: object, info: ValidationInfo, form: str, what: str, remedy: str) -> object:
    """`value` if the whole of it has the `form`; None for off."""
    if value == OFF:
        return None
    if isinstance(value, str) and not re.fullmatch(form, value):
        refuse(variable_in(info), what, value, remedy)
    return value


def folder_fault(text: str) -> tuple[str, str] | None:
    """(what is wrong with a folder as it was typed, what to write instead); None if nothing is."""
    if text.startswith("~"):
        return "starts with ~, which only a shell replaces", os.path.expanduser(text)  # noqa: PTH111 - raises nothing
    if not text.isprintable():
        return "has a character that cannot be printed", "a path without it"
    return None


def check_folder(value: object, info: ValidationInfo) -> object:
    """A path as no shell has to read it."""
    if isinstance(value, str) and (fault := folder_fault(value)) is not None:
        refuse(variable_in(info), fault[0], value, fault[1])
    return value


# `true` and `1` are refused: they must not mean no by mistake
Switch = Annotated[bool, choice(("yes", "no"), lambda word: word == "yes")]
Count = Annotated[int | None, BeforeValidator(check_count)]
Amount = Annotated[float | None, BeforeValidator(check_amount)]
