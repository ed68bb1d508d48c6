"""The page of the params' types, bounds and defaults: from the models of the stages, params.yaml and dvc.yaml."""

import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from stages.common.params import PARAMS_FILE
from stages.evaluate.params import EvaluateParams
from stages.ingest.params import IngestParams
from stages.preprocess.params import PreprocessParams
from stages.train.params import TrainParams

_COMMENT = re.compile(r"^  (\w+):.*?\s#\s(.*)$", re.MULTILINE)
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_WORDS = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`", types.NoneType: "`null`"}
_HEAD = ["| key | takes | default | meaning | stages that declare it |", "|---|---|---|---|---|"]
_LARGE = 1 << 32  # a bound that nobody meets


def params_page(root: Path) -> str:
    """Every key of params.yaml: what it takes, its value as shipped, its comment, the entries that declare it."""
    text = (root / PARAMS_FILE).read_text(encoding="utf-8")
    declared = _declared(yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    parts = ["# Params: types and defaults", "`params.yaml` as it ships. [Params](../params.md) says more."]
    for section, values in yaml.safe_load(text).items():
        _, _, below = text.partition(f"\n{section}:\n")
        comments = dict(_COMMENT.findall(re.split(r"\n(?=\w)", below)[0]))
        rows = (
            [
                key,
                _takes(section, key),
                f"`{_in_yaml(value)}`",
                _shown(comments.get(key, "")),
                ", ".join(declared.get(f"{section}.{key}", ())),
            ]
            for key, value in values.items()
        )
        parts.append(
            "\n".join([f"## {section}", "", *_HEAD, *(f"| `{key}` | {' | '.join(rest)} |" for key, *rest in rows)])
        )
    return "\n\n".join(parts) + "\n"


def _in_yaml(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).splitlines()[0]


def _shown(comment: str) -> str:
    """A comment of params.yaml as a cell of a table."""
    return re.sub(r"\bdocs/([a-z-]+)\.md", r"[\1](../\1.md)", re.sub(r"\s*\|\s*", ", ", comment))


def _declared(stages: Mapping[str, Any]) -> dict[str, list[str]]:
    """The entries of dvc.yaml by the keys that they declare."""
    found: dict[str, list[str]] = {}
    for name, entry in stages.items():
        for key in entry.get("do", entry).get("params", ()):
            found.setdefault(str(key), []).append(name)
    return found


def _takes(section: str, key: str) -> str:
    for model in (IngestParams, PreprocessParams, TrainParams, EvaluateParams):
        inner = model.model_fields.get(section)
        fields = inner.annotation.model_fields if inner and inner.annotation else {}
        if key in fields:
            return _kind_of(fields[key])
    raise LookupError(f"no model has {section}.{key}")


def _kind_of(field: FieldInfo) -> str:
    return _kind(field.annotation, field.metadata)


def _kind(kind: Any, metadata: Any = ()) -> str:
    """A type in words, with its bounds."""
    if hasattr(kind, "__metadata__"):
        return _kind(kind.__origin__, kind.__metadata__)
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_kind(each) for each in get_args(kind))
    if get_origin(kind) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(kind))
    if get_origin(kind) is tuple:
        inner = [each for each in get_args(kind) if each is not Ellipsis]
        size = "" if len(inner) < len(get_args(kind)) else f" of {len(inner)}"
        return f"list{size}: {_kind(inner[0])}"
    if members := getattr(kind, "__members__", None):  # of an enum
        return ", ".join(f"`{word}`" for word in members.values())
    return " ".join([_WORDS.get(kind, "see [params](../params.md)"), *_bounds(metadata)])


def _bounds(metadata: Any) -> Iterator[str]:
    flat = [inner for each in metadata for inner in (each.metadata if isinstance(each, FieldInfo) else [each])]
    for name, sign in _SIGNS.items():
        bounds = (getattr(each, name, None) for each in flat)
        yield from (f"{sign} {bound:g}" for bound in bounds if bound is not None and abs(bound) < _LARGE)
