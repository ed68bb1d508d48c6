"""What `dvc repro` would do with other params, and why: DVC's own answer, without a change to the workspace."""

import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.fs import LocalFileSystem
from dvc.lock import LockError
from dvc.repo import Repo
from ruamel.yaml import YAML

from stages.common.errors import UsageError

MOST_NAMES = 4
BUSY_PATIENCE_S = 60


@dataclass(frozen=True, kw_only=True)
class StageForecast:
    """One stage of dvc.yaml. `why` says what makes it run, or that nothing does."""

    address: str
    runs: bool
    why: str


class _WithParams(LocalFileSystem):  # type: ignore[misc]  # DVC is untyped
    """The disk, on which one file reads as something else."""

    def __init__(self, file: Path, text: str) -> None:
        super().__init__()
        self._file, self._text = str(file), text

    def open(self, path: str, mode: str = "r", **options: Any) -> Any:
        """Open `path`; the replaced file for reading only."""
        if str(Path(path).absolute()) != self._file:
            return super().open(path, mode=mode, **options)
        return io.BytesIO(self._text.encode()) if "b" in mode else io.StringIO(self._text)


def forecast(root: Path, params: Mapping[str, Any]) -> list[StageForecast]:
    """All stages in the order in which they run, were params.yaml of the workspace `root` to hold `params`.

    Raises CapillaryError when DVC cannot read the project.
    """
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(dict(params), text)
    fs = _WithParams(root.absolute() / "params.yaml", text.getvalue())
    try:
        repo = Repo(str(root), fs=fs, _wait_for_lock=True)
        return list(_walk(repo.index.graph, _patient_status(repo)))
    except DvcException as error:
        raise UsageError(
            f"DVC cannot read this project: {error}",
            file=root / "dvc.yaml",
            remedy="correct what DVC names; `dvc status` shows whether DVC can read the project",
        ) from error


def _patient_status(repo: Repo) -> dict[str, list[Any]]:
    """What changed. A path that another DVC works on is waited for; one that was just killed may still be listed."""
    deadline = time.monotonic() + BUSY_PATIENCE_S
    while True:
        try:
            status: dict[str, list[Any]] = repo.status()
        except LockError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return status


def _walk(graph: Any, status: Mapping[str, list[Any]]) -> Iterator[StageForecast]:
    """Each stage of `graph`, whose edges lead to what a stage depends on, after those that it depends on."""
    running: set[str] = set()
    for stage in _sorted(graph):
        address = stage.addressing
        upstream = [before.addressing for before in graph.successors(stage) if before.addressing in running]
        reasons = list(_reasons(stage, status.get(address, [])))
        if upstream:
            reasons.append(f"follows {_some(upstream)}")
        if reasons:
            running.add(address)
        yield StageForecast(
            address=address, runs=bool(reasons), why="; ".join(reasons) or "nothing changed since its last run"
        )


def _sorted(graph: Any) -> list[Any]:
    """Upstream first; otherwise in the order of dvc.yaml."""
    order: dict[Any, None] = {}

    def visit(stage: Any) -> None:
        for before in graph.successors(stage):
            visit(before)
        order.setdefault(stage)

    for stage in graph:
        visit(stage)
    return list(order)


def _reasons(stage: Any, status: list[Any]) -> Iterator[str]:
    if status and not any(out.hash_info for out in stage.outs):
        yield "has not run yet"
        return
    for change in status:
        if isinstance(change, str):  # "changed command", "always changed"
            yield change
            continue
        for kind, items in change.items():
            yield f"{kind}: {_some(list(_names(items)))}"


def _names(items: Mapping[str, Any]) -> Iterator[str]:
    """Changed things: keys of params.yaml by their own names, files with what became of them."""
    for name, state in items.items():
        if isinstance(state, dict):
            yield from state
        else:
            yield f"{name} ({state})"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"
