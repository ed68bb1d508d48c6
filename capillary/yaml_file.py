"""YAML as DVC reads it: version 1.2, in which 1e-3 is a number."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.common.errors import ParamsError


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in `file`; ParamsError when it is not YAML or not a mapping."""
    try:
        tree = YAML(typ="safe", pure=True).load(file)
    except YAMLError as error:
        raise ParamsError(
            f"{file.name} is not YAML", file=file, value=error, remedy="correct the line named"
        ) from error
    if not isinstance(tree, dict):
        raise ParamsError(f"{file.name} holds no keys", file=file, value=tree, remedy="write `section:` and keys in it")
    return tree
