"""YAML as DVC reads it: version 1.2, in which 1e-3 is a number."""

import copy
import datetime
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stages.common.errors import ParamsError


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in `file`; ParamsError when it is missing, not YAML or not a mapping."""
    if not file.is_file():
        raise ParamsError(f"there is no {file.name} here", file=file, remedy="run this in the project's own folder")
    try:
        text = file.read_bytes().decode()
        tree = copy.deepcopy(_parse(text))
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise ParamsError(
            f"{file.name} is not UTF-8 text", file=file, value=where, remedy="save it as UTF-8"
        ) from error
    except YAMLError as error:
        raise _explain(file, text, error) from error
    if not isinstance(tree, dict):
        raise ParamsError(f"{file.name} holds no keys", file=file, value=tree, remedy="write `section:` and keys in it")
    for key, value in leaves(tree):
        if isinstance(value, datetime.date):
            raise ParamsError(
                f"{file.name} `{key}` is read as a date by YAML",
                file=file,
                value=value,
                remedy=f"put quotes around it: '{value}'",
            )
    return tree


@functools.lru_cache(maxsize=32)
def _parse(text: str) -> Any:
    """Parsing in Python takes some 10 ms per kB, and one command reads configs/stages.yaml up to six times."""
    return YAML(typ="safe", pure=True).load(text)


def _explain(file: Path, text: str, error: YAMLError) -> ParamsError:
    """What is wrong, in which line, and what to do about it."""
    if not isinstance(error, MarkedYAMLError) or (mark := error.problem_mark) is None:
        return ParamsError(
            f"{file.name} is not YAML", file=file, value=error, remedy="remove control characters from it"
        )
    line = [*text.split("\n"), ""][mark.line]
    if isinstance(error, DuplicateKeyError):
        what, remedy = "names a key twice in one section", "keep one of the two lines"
    elif line[mark.column : mark.column + 1] == "\t":
        what, remedy = "has a tab where YAML allows only spaces", "replace the tab with spaces"
    else:
        what, remedy = f"is not YAML: {error.problem}", "correct the line named, or the one before it"
    return ParamsError(f"{file.name} {what}", file=file, value=f"line {mark.line + 1}: {line.strip()}", remedy=remedy)


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything in `tree` that is not a section (a list is a value, an empty section, too)."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
