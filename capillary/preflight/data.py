"""Data: the sources that dvc.yaml names are here, and outs are what dvc.lock says, here or in DVC's cache."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from capillary.dvc.commands import BUSY, DVC
from stages.common.errors import CapillaryError, DataError
from stages.common.preflight.check import Check, missed, passed, warned


@dataclass(frozen=True, kw_only=True)
class DataState:
    """What DVC says. Paths are relative to the workspace.

    `sources` are missing and made by no stage; `pulled` were once recorded and are neither here nor in the cache;
    `cached` are in the cache alone; `changed` are not what dvc.lock says.
    """

    sources: tuple[str, ...]
    pulled: tuple[str, ...]
    cached: tuple[str, ...]
    changed: tuple[str, ...]


def check_data(root: Path, *, critical: bool) -> Check:
    """Ask DVC, and judge."""
    try:
        status, data = _ask(root, "status", "--json"), _ask(root, "data", "status", "--json")
    except CapillaryError as error:
        if any(word in str(error.value) for word in BUSY):
            return warned("data", "another dvc runs in this project", "", "wait for it, then check again")
        return missed("data", str(error.value), "DVC can tell", error.remedy, critical=critical)
    return judge(read_state(status, data), critical=critical)


def judge(state: DataState, *, critical: bool) -> Check:
    """A missing source ends a run; the rest is made again, or comes back by itself."""
    wanted = "here, and as in dvc.lock"
    if state.sources:
        remedy = "dvc pull, if DVC keeps it; else put it there, or correct the path in params.yaml"
        return missed("data", f"missing: {_names(state.sources)}", wanted, remedy, critical=critical)
    if state.pulled:
        remedy = "dvc pull fetches it; without that dvc repro makes it again"
        return warned("data", f"recorded, but neither here nor in the cache: {_names(state.pulled)}", wanted, remedy)
    if state.changed:
        remedy = "dvc repro makes it again from its deps; to restore the recorded version: dvc checkout"
        return warned("data", f"not as in dvc.lock: {_names(state.changed)}", wanted, remedy)
    value = f"in DVC's cache, restored automatically: {_names(state.cached)}" if state.cached else "here"
    return passed("data", value, wanted, critical=critical)


def read_state(status: Mapping[str, Any], data: Mapping[str, Any]) -> DataState:
    """From the JSON of `dvc status` and `dvc data status`."""
    by_stages = [out for name, out, _ in _changes(status, "changed outs") if not name.endswith(".dvc")]
    by_hand = [out for name, out, how in _changes(status, "changed outs") if name.endswith(".dvc") and how == "deleted"]
    absent = [dep for _, dep, how in _changes(status, "changed deps") if how == "deleted"]
    gone = [_plain(name) for name in data.get("uncommitted", {}).get("deleted", [])]
    not_cached = {_plain(name) for name in data.get("not_in_cache", [])}
    sources = [*by_hand, *(dep for dep in absent if not any(_touch(dep, out) for out in by_stages))]
    return DataState(
        sources=tuple(dict.fromkeys(sources)),
        pulled=tuple(name for name in gone if name in not_cached and name not in sources),
        cached=tuple(name for name in gone if name not in not_cached),
        changed=tuple(_plain(name) for name in data.get("uncommitted", {}).get("modified", [])),
    )


def cache_folder(root: Path) -> Path:
    """DVC's cache; where it would be by default, when DVC does not tell."""
    done = _run(root, "cache", "dir")
    return Path(done.stdout.strip()) if done.returncode == 0 else root / ".dvc" / "cache"


def _changes(status: Mapping[str, Any], kind: str) -> Iterable[tuple[str, str, str]]:
    """(stage, path, how it changed)"""
    for stage, groups in status.items():
        for group in groups:
            if isinstance(group, dict):
                yield from ((stage, path, str(how)) for path, how in group.get(kind, {}).items())


def _touch(one: str, other: str) -> bool:
    """Whether one of two paths is in the other."""
    a, b = PurePosixPath(_plain(one)), PurePosixPath(_plain(other))
    return a == b or a in b.parents or b in a.parents


def _plain(name: str) -> str:
    return name.rstrip("/")


def _names(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more


def _ask(root: Path, *words: str) -> Mapping[str, Any]:
    done = _run(root, *words)
    if done.returncode:
        raise DataError(
            f"dvc {words[0]} fails",
            value=error_of(done.stderr) or f"dvc ended with {done.returncode}",
            remedy=f"dvc {' '.join(words[:-1])} shows it; correct what it names",
        )
    answer: Mapping[str, Any] = json.loads(done.stdout or "{}")
    return answer


def error_of(stderr: str) -> str:
    """The line with DVC's error, which may come after warnings; the first line where none is marked so."""
    lines = stderr.strip().splitlines()
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return next(iter([*errors, *lines]), "")


def _run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DVC, *words], cwd=root, check=False, capture_output=True, text=True)
