"""Changed params as arguments of `dvc exp run`."""

import re
from collections.abc import Iterator
from typing import Any


def set_param_arguments(overrides: dict[str, Any]) -> Iterator[str]:
    """`--set-param KEY=VALUE` pairs for dvc exp run, values in the grammar of its overrides."""
    for key, value in overrides.items():
        yield "--set-param"
        yield f"{key}={_literal(value)}"


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_literal(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_literal(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        # a backslash is one by itself, but before a quote it has to be doubled
        return "'" + re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), value) + "'"
    return repr(value)
