"""params.yaml while an experiment runs: its overrides in, those of the previous experiment out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML

from capillary.experiments.config import OVERRIDES, get, put, with_overrides
from capillary.params_file import read_params_file
from stages.common.atomic import atomic_write
from stages.common.stored import unreadable

_MISSING = object()
_NULL = "tag:yaml.org,2002:null"  # ruamel writes nothing at all for it, which reads like a forgotten value


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ReplacedValue:
    """A value of params.yaml `before` an experiment, and those that it may hold `after`."""

    before: Any
    after: list[Any]


_MEMORY = TypeAdapter(dict[str, ReplacedValue])


def base_params(root: Path) -> dict[str, Any]:
    """params.yaml as it was before the last experiment wrote to it.

    What somebody changed by hand since stays: a key is put back only while it holds what the experiment gave it.
    """
    params = read_params_file(root)
    return with_overrides(params, _to_put_back(root, params))


def apply_overrides(root: Path, overrides: dict[str, Any]) -> None:
    """Write `overrides` to params.yaml over its base, comments kept; remembers what they replace."""
    former, base = _remembered(root), base_params(root)
    changes = {**_to_put_back(root, read_params_file(root)), **overrides}
    new = {key: ReplacedValue(before=get(base, key), after=[value]) for key, value in overrides.items()}
    # before params.yaml changes the memory knows both values: a run may be killed between the two
    both = {key: replace(new[key], after=[*new[key].after, *former[key].after]) for key in new.keys() & former.keys()}
    _remember(root, {**former, **new, **both})
    _edit(root / "params.yaml", changes)
    _remember(root, new)


def _edit(file: Path, changes: dict[str, Any]) -> None:
    """Set dotted keys in the YAML `file`, which keeps its comments and layout; untouched when nothing changes."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # never fold a line
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(_NULL, "null"))
    tree = yaml.load(file)
    wanted = {key: value for key, value in changes.items() if get(tree, key) != value}
    if not wanted:
        return
    for key, value in wanted.items():
        put(tree, key, _like(get(tree, key), value))
    with atomic_write(file) as stream:
        yaml.dump(tree, stream)


def _like(old: Any, value: Any) -> Any:
    """`value`, a list in the style in which `old` is written."""
    if not isinstance(value, list) or not hasattr(old, "fa"):
        return value
    new = type(old)(value)
    if old.fa.flow_style():
        new.fa.set_flow_style()
    return new


def _to_put_back(root: Path, params: dict[str, Any]) -> dict[str, Any]:
    """Values before the last experiment, of the keys that still hold what it gave them."""
    return {key: known.before for key, known in _remembered(root).items() if _found(params, key) in known.after}


def _found(params: dict[str, Any], key: str) -> Any:
    try:
        return get(params, key)
    except (KeyError, TypeError):
        return _MISSING  # a key that params.yaml no longer has


def _remembered(root: Path) -> dict[str, ReplacedValue]:
    file = _memory(root)
    if not file.is_file():
        return {}
    try:
        return _MEMORY.validate_json(file.read_bytes())
    except ValidationError as error:
        what = "the record of what the last experiment changed in params.yaml"
        remedy = "undo that experiment's changes in params.yaml (see `git diff params.yaml`), then remove this file"
        raise unreadable(error, what, file=file, remedy=remedy) from error


def _remember(root: Path, replaced: dict[str, ReplacedValue]) -> None:
    with atomic_write(_memory(root)) as stream:
        stream.write(_MEMORY.dump_json(replaced))


def _memory(root: Path) -> Path:
    return root / ".capillary" / "experiments" / f"{OVERRIDES}.json"
