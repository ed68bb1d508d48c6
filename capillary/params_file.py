"""params.yaml as a whole: every key is one that a stage of dvc.yaml reads, and every value is one that it takes."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capillary.yaml_file import read_yaml
from stages.common.errors import ParamsError
from stages.common.params import Params, nearest, validate_params


def declared_keys(root: Path) -> dict[str, list[str]]:
    """The dotted params keys that each stage of dvc.yaml declares."""
    stages = read_yaml(root / "dvc.yaml")["stages"]
    return {name: entry.get("params", []) for name, entry in stages.items()}


def read_params_file(root: Path) -> dict[str, Any]:
    """params.yaml of the workspace `root`."""
    return read_yaml(root / "params.yaml")


def leaf_keys(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of the values in `tree` (a list is a value)."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from leaf_keys(value, f"{key}.")
        else:
            yield key


def refuse_unknown_keys(root: Path) -> None:
    """Raise ParamsError for the first key of params.yaml that no stage declares: most often a spelling mistake."""
    known = {key for keys in declared_keys(root).values() for key in keys}
    tree = read_params_file(root)
    for key in leaf_keys(tree):
        if key not in known:
            section, _, name = key.rpartition(".")
            siblings = [other.rpartition(".")[2] for other in known if other.rpartition(".")[0] == section]
            raise ParamsError(
                f"params.yaml [{section}] unknown key `{name}`; {nearest(name, siblings or sorted(known))}",
                remedy=f"rename or remove `{key}`, or declare it under a stage's params in dvc.yaml",
                file="params.yaml",
            )


def check_params(root: Path) -> None:
    """Raise ParamsError for an unknown key, a missing key or a value that its stage would refuse."""
    refuse_unknown_keys(root)
    check_values(read_params_file(root), root, origin="params.yaml")


def check_values(params: dict[str, Any], root: Path, origin: str) -> None:
    """Check `params` with the models of the stages, each stage with the keys that it declares."""
    for stage, keys in declared_keys(root).items():
        visible: dict[str, Any] = {}
        for key in keys:
            _copy(params, visible, key.split("."), origin)
        validate_params(_model_of(stage), visible, origin)


def _copy(source: dict[str, Any], target: dict[str, Any], path: list[str], origin: str) -> None:
    *sections, last = path
    for section in sections:
        source = source.get(section, {})
        target = target.setdefault(section, {})
    if last not in source:
        raise ParamsError(f"{origin} has no key `{'.'.join(path)}`", remedy=f"set `{'.'.join(path)}`", file=origin)
    target[last] = source[last]


def _model_of(stage: str) -> type[Params]:
    """By convention stages/train/params.py holds TrainParams: params.yaml as that stage sees it."""
    model: type[Params] = getattr(importlib.import_module(f"stages.{stage}.params"), f"{stage.capitalize()}Params")
    return model
