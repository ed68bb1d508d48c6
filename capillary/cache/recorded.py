"""Recorded results as values: entries of dvc.lock and of DVC's run cache. Anybody may have written either."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from capillary.integrity.lock_file import LOCK_FILE

RUNS = "runs"
PARAMS = "params.yaml"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_BYTES = 1 << 24  # of one record; the longest real ones have some hundred lines


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One result: `outs` came from `deps` (path → hash) and `params` (dotted key → value) by `cmd`.

    `address` is empty while nobody knows which stage it is of. `files` are the records that say so.
    """

    address: str
    cmd: tuple[str, ...]
    deps: Mapping[str, str]
    params: Mapping[str, Any]
    outs: Mapping[str, str]
    files: tuple[Path, ...]

    @property
    def identity(self) -> str:
        """Equal for equal claims, wherever they are written."""
        return repr((self.address, self.cmd, *(sorted(part.items()) for part in (self.deps, self.params, self.outs))))


def in_lock_file(root: Path) -> list[Recorded]:
    """What dvc.lock of the workspace `root` records. The file has been checked (integrity/lock_file.py)."""
    file = root / LOCK_FILE
    tree = _read(file) if file.is_file() else None
    stages = (tree or {}).get("stages") or {}
    entries = ((address, _recorded(entry, file)) for address, entry in stages.items())
    return [replace(each, address=address) for address, each in entries if each is not None]


def in_run_cache(cache: Path) -> list[Recorded]:
    """What the run cache in DVC's `cache` records, of all stages and earlier versions of them. Skips what is damaged,
    which DVC itself removes when it meets it.
    """
    files = sorted(file for file in (cache / RUNS).glob("??/*/*") if file.is_file() and not file.is_symlink())
    entries = (_recorded(_read(file), file) for file in files)
    return [each for each in entries if each is not None]


def merged(records: Iterable[Recorded]) -> list[Recorded]:
    """Each claim once, with all files that make it, in a stable order."""
    known: dict[str, Recorded] = {}
    for each in records:
        former = known.get(each.identity)
        known[each.identity] = each if former is None else replace(former, files=(*former.files, *each.files))
    return [known[identity] for identity in sorted(known)]


def _read(file: Path) -> Any:
    if file.stat().st_size > _MOST_BYTES:
        return None
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - the safe loader, in C
    except (yaml.YAMLError, UnicodeDecodeError):
        return None


def _recorded(entry: Any, file: Path) -> Recorded | None:
    """`entry` as a value; None when it is not a whole record of plain paths in the workspace."""
    try:
        cmd = entry["cmd"]
        return Recorded(
            address="",
            cmd=tuple(map(str, cmd if isinstance(cmd, list) else cmd.splitlines())),
            deps=dict(_hashes(entry.get("deps", []))),
            params=dict((entry.get("params") or {}).get(PARAMS) or {}),
            outs=dict(_hashes(entry["outs"])),
            files=(file,),
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _hashes(items: Any) -> Iterator[tuple[str, str]]:
    for item in items:
        path, digest = item["path"], item["md5"]
        if not (isinstance(path, str) and isinstance(digest, str)):
            raise TypeError(f"not a record of a file: {item}")
        yield path, digest
