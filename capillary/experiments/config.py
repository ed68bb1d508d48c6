"""An experiment file: a name and a set of overrides on params.yaml, refused early when a key or type is wrong.

experiment:
  name: vesselnn
  description: six two-photon stacks of rodent brain
ingest:
  source: ../my-stacks
training:
  max_epochs: 40
"""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from capillary.params_file import leaf_keys
from capillary.yaml_file import leaves, read_yaml
from stages.common.errors import ParamsError
from stages.common.params import Params, nearest, validate_params


class ExperimentHead(Params):
    """The `experiment` section."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """A checked experiment file. `overrides` maps dotted params keys to values."""

    head: ExperimentHead
    overrides: dict[str, Any]


def read_experiment(file: Path, params: dict[str, Any]) -> ExperimentConfig:
    """`file` as overrides of `params` (params.yaml); ParamsError names an unknown key and the nearest known one."""
    if not file.is_file():
        known = ", ".join(sorted(str(path) for path in Path("configs/experiments").glob("*.yaml")))
        raise ParamsError("there is no such experiment file", file=file, remedy=f"name one of: {known}")
    tree = read_yaml(file)
    section = tree.pop("experiment", None)
    if not isinstance(section, dict) or "name" not in section:
        raise ParamsError(
            "the experiment has no name",
            file=file,
            value=section,
            remedy="write `experiment:` and below it `name: …` in it",
        )
    head = validate_params(ExperimentHead, section, f"{file} [experiment]")
    known_keys = list(leaf_keys(params))
    overrides = dict(leaves(tree))
    for key in overrides:
        if key not in known_keys:
            raise ParamsError(
                f"{file} unknown key `{key}`; {nearest(key, known_keys)}",
                file=file,
                remedy=f"rename or remove `{key}`: an experiment file overrides keys of params.yaml",
            )
    return ExperimentConfig(head=head, overrides=overrides)


def with_overrides(params: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """A copy of `params` with `overrides` applied."""
    merged = copy.deepcopy(params)
    for key, value in overrides.items():
        *sections, last = key.split(".")
        target = merged
        for section in sections:
            target = target[section]
        target[last] = value
    return merged


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
    if isinstance(value, str):
        # a backslash is one by itself, but before a quote it has to be doubled
        return "'" + re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), value) + "'"
    return repr(value)
