"""YAML as DVC reads it: version 1.2, in which 1e-3 is a number."""

import copy
import datetime
import functools
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from capillary.project_folder import go_there, is_project
from stages.common.errors import ParamsError

CONFIGS = "configs"  # a project's folder of files like these
OUTSIDE_CONFIGS = ("dvc.yaml", "params.yaml")
MOST_LEVELS = 50
MOST_VALUES = 100_000  # aliases spelled out
MOST_BITS = 10_000  # of a whole number: Python writes no more than 4,300 digits


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in `file`; ParamsError when it is missing, not YAML, not a mapping or without an end."""
    if not file.is_file():
        raise _missing(file)
    return parse_yaml(file.read_bytes(), file)


def _missing(file: Path) -> ParamsError:
    """The error for a project that lacks one of its files, or for a folder that is not a project."""
    root = file.parent if file.name in OUTSIDE_CONFIGS or file.parent.name != CONFIGS else file.parent.parent
    remedy = f"restore it: git checkout -- {shlex.quote(str(file))}" if is_project(root) else go_there(root)
    return ParamsError(f"there is no {file.name} here", file=file, remedy=remedy)


def parse_yaml(content: bytes, file: Path) -> dict[str, Any]:
    """As `read_yaml`, the `content` of a `file` that was read elsewhere."""
    try:
        text = content.decode()
        tree = copy.deepcopy(_parse(text))
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise ParamsError(
            f"{file.name} is not UTF-8 text", file=file, value=where, remedy="save it as UTF-8"
        ) from error
    except YAMLError as error:
        raise _explain(file, text, error) from error
    except (RecursionError, ValueError) as error:  # Python's own, of a nesting or a number without end
        raise _endless(file, str(error)) from error
    _refuse_endless(file, tree)
    if not isinstance(tree, dict):
        raise ParamsError(f"{file.name} holds no keys", file=file, value=tree, remedy="write `section:` and keys in it")
    _refuse_odd(file, tree)
    return tree


@functools.lru_cache(maxsize=32)
def _parse(text: str) -> Any:
    """Parsing in Python takes some 10 ms per kB, and one command reads configs/stages.yaml up to six times."""
    return YAML(typ="safe", pure=True).load(text)


def _refuse_endless(file: Path, tree: Any) -> None:
    """Raise ParamsError where aliases (*name) make a short text into more values than anybody writes, or a loop."""
    waiting, values = [(tree, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        values += 1
        if depth > MOST_LEVELS or values > MOST_VALUES:
            raise _endless(file, f"more than {MOST_LEVELS} levels or {MOST_VALUES:,} values")
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise _endless(file, f"a whole number of more than {MOST_BITS:,} bits")
        if isinstance(value, dict):
            waiting.extend((each, depth + 1) for pair in value.items() for each in pair)
        elif isinstance(value, list | set | tuple):
            waiting.extend((each, depth + 1) for each in value)


def _refuse_odd(file: Path, tree: dict[str, Any]) -> None:
    """Raise ParamsError for a date, also in a list or as a key, and for a key that is neither text nor a number."""
    for key, value in _every(tree):
        if isinstance(value, datetime.date):
            raise ParamsError(
                f"{file.name} `{key}` is read as a date by YAML",
                file=file,
                value=value,
                remedy=f"put quotes around it: '{value}'",
            )
        if isinstance(value, tuple | bytes):
            raise ParamsError(
                f"{file.name} has something under `{key}` that is neither text nor a number",
                file=file,
                value=value,
                remedy="write a name before each colon, without `?`, and remove tags such as !!binary",
            )


def _every(tree: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Everything in `tree` that is not a mapping or a list, keys too, with the dotted key that it is found under."""
    waiting: list[tuple[str, Any]] = [("", tree)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            yield from ((key or str(name), name) for name in value)
            waiting.extend((f"{key}.{name}" if key else str(name), inner) for name, inner in value.items())
        elif isinstance(value, list | set):
            waiting.extend((key, inner) for inner in value)
        else:
            yield key, value


def _endless(file: Path, why: str) -> ParamsError:
    return ParamsError(
        f"{file.name} has no end: a number, a nesting or an alias (*name) in it is too large",
        file=file,
        value=why,
        remedy="write the values themselves in place of anchors (&name) and aliases (*name), and shorter numbers",
    )


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
