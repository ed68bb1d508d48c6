"""YAML as DVC reads it: version 1.2, in which 1e-3 is a number."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.common.errors import ParamsError


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in `file`; ParamsError when it is missing, not YAML or not a mapping."""
    if not file.is_file():
        raise ParamsError(f"there is no {file.name} here", file=file, remedy="run this in the project's own folder")
    try:
        tree = YAML(typ="safe", pure=True).load(file)
    except YAMLError as error:
        raise ParamsError(
            f"{file.name} is not YAML", file=file, value=error, remedy="correct the line named"
        ) from error
    if not isinstance(tree, dict):
        raise ParamsError(f"{file.name} holds no keys", file=file, value=tree, remedy="write `section:` and keys in it")
    for key, value in leaves(tree):
        if isinstance(value, datetime.date):
            raise ParamsError(
                f"{file.name} `{key}` is a date to YAML",
                file=file,
                value=value,
                remedy=f"put quotes around it: '{value}'",
            )
    return tree


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything in `tree` that is not a section (a list is a value, an empty section, too)."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
