"""dvc.lock read and written as DVC does it, ten times as fast: of each cell's overhead this file is the largest part.

DVC parses it in Python, three times for each stage that runs, and writes all of it again. Here libyaml parses it, under
the rules of YAML 1.2 that DVC's own parser follows, and entries that have not changed are taken over as text.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml.resolver import implicit_resolvers

from capillary.integrity.lock_file import LOCK_FILE

Parse = Callable[..., Any]
Dump = Callable[[Any, io.StringIO], Any]
_VERSION = (1, 2)
_HEAD = "stages:\n"
_ENTRY = re.compile(r"^ {2}(?=[^\s-])", re.MULTILINE)  # the first line of an entry
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]  # chosen when it is imported
    """libyaml with the rules of YAML 1.2: `1e-05` is a number, `off` and `010` are not what they were in 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012 - as in its base


for _versions, _tag, _pattern, _first in implicit_resolvers:
    if _VERSION in _versions:
        _Loader.add_implicit_resolver(_tag, _pattern, _first)


def _integer(loader: Any, node: Any) -> int:
    digits = loader.construct_scalar(node).replace("_", "")
    return int(digits, 0 if re.match(r"[-+]?0[box]", digits) else 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse_with(usual: Parse) -> Parse:
    """DVC's `parse_yaml`, which is `usual` for every file but dvc.lock, and for one that libyaml cannot read."""

    def parse(text: str, path: Any, typ: str = "safe") -> Any:
        if Path(path).name != LOCK_FILE:
            return usual(text, path, typ)
        try:
            # dvc.lock has no comments that `rt`, the other type, would keep
            return yaml.load(text, Loader=_Loader) or {}  # noqa: S506 - derived from the safe loader
        except (yaml.YAMLError, ValueError):
            return usual(text, path, typ)  # it has the words for what is wrong

    return parse


def lock_text(data: Any, former: str, dump: Dump) -> str:
    """What `dump` writes for `data`, the content of dvc.lock; entries that are in the text `former` come from there."""
    stages = data.get("stages") if isinstance(data, dict) else None
    if not isinstance(stages, dict) or list(data) != ["schema", "stages"] or not stages:
        return _dumped(dump, data)
    known = _entries(former)
    texts = [
        known[address][1] if address in known and known[address][0] == entry else _entry_text(dump, address, entry)
        for address, entry in stages.items()
    ]
    return _dumped(dump, {"schema": data["schema"]}) + _HEAD + "".join(texts)


def _entries(text: str) -> dict[str, tuple[Any, str]]:
    """Address → (its entry, the text of it) of a dvc.lock; none if the two do not match one to one."""
    _, found, body = text.partition(_HEAD)
    if not found:
        return {}
    starts = [each.start() for each in _ENTRY.finditer(body)]
    blocks = [body[start:end] for start, end in zip(starts, [*starts[1:], len(body)], strict=True)]
    try:
        stages = yaml.load(_HEAD + body, Loader=_Loader)["stages"]  # noqa: S506 - derived from the safe loader
    except (yaml.YAMLError, ValueError, KeyError, TypeError):
        return {}
    if not isinstance(stages, dict) or len(stages) != len(blocks):
        return {}
    return {address: (entry, block) for (address, entry), block in zip(stages.items(), blocks, strict=True)}


def _entry_text(dump: Dump, address: str, entry: Any) -> str:
    return _dumped(dump, {"stages": {address: entry}}).removeprefix(_HEAD)


def _dumped(dump: Dump, data: Any) -> str:
    text = io.StringIO()
    dump(data, text)
    return text.getvalue()
