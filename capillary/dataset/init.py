"""Write dataset.csv for a folder: what ingest understands of it, and a spacing where no header has one."""

import importlib
import importlib.util
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from stages.common.atomic import atomic_write
from stages.common.dataset.lengths import micrometres_in
from stages.common.dataset.table import TABLE
from stages.common.errors import DataError, MachineError, UsageError
from stages.common.imaging.spacing import MAX_UM, MIN_UM, doubt_of_given, is_sane
from stages.common.program.messages import get_logger
from stages.common.text import counted, visible

log = get_logger(__name__)

_READERS = ("pandas", "pandera", "fsspec", "tifffile", "nibabel")  # of the extra `stages`
_SHOWN = 12  # remarks on a screen


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `capillary dataset init` was asked for; `spacing_um` is Z,Y,X as it was typed."""

    folder: Path
    spacing_um: str | None
    force: bool
    dry_run: bool


def write_draft(request: Request) -> None:
    """Write the table, or print it for a dry run.

    Raises CapillaryError if nothing can be written: no folder, a table that is there already, no known layout.
    """
    given = None if request.spacing_um is None else _lengths(request.spacing_um)
    target = request.folder / TABLE
    _check_folder(request.folder)
    if os.path.lexists(target) and not (request.force or request.dry_run):
        raise UsageError(
            f"the folder already has a {TABLE}",
            remedy="replace it with --force, or see what would be written with --dry-run",
            file=target,
        )
    draft = _read(request.folder)
    count = len(draft.without_spacing)
    if count and given is None and not request.dry_run and sys.stdin.isatty():
        given = _ask(count)
    if given is not None:
        draft = draft.filled(given, "given by hand")
    if request.dry_run:
        typer.echo(draft.as_csv().decode(), nl=False)
    else:
        _write(target, draft.as_csv())
    _report(draft, target, doubt_of_given(given, None) if given else "", is_written=not request.dry_run)


def _check_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    what = "this is a file, not a folder" if folder.exists() else "the folder does not exist"
    remedy = "unpack an archive first, then name the folder" if folder.exists() else "correct its name"
    raise DataError(what, remedy=remedy, file=folder)


def _read(folder: Path) -> Any:
    """A stages.ingest.draft.Draft, by ingest's own code, which needs the readers of the extra `stages`."""
    missing = [name for name in _READERS if importlib.util.find_spec(name) is None]
    if missing:
        raise MachineError(
            f"reading stacks needs packages that are not installed: {', '.join(missing)}",
            remedy="install them with ./just setup stages",
        )
    module = importlib.import_module("stages.ingest.draft")
    with tempfile.TemporaryDirectory(prefix="capillary-") as scratch:
        return module.draft_table(folder, str(folder), Path(scratch))


def _ask(count: int) -> tuple[float, float, float] | None:
    """The spacing of `count` images without one, by the person at the terminal; None for an empty answer."""
    text = typer.prompt(
        f"{counted(count, 'image')} without a spacing in the header. Z,Y,X in µm (Enter: leave it empty)",
        default="",
        show_default=False,
    )
    return _lengths(text) if text.strip() else None


def _lengths(text: str) -> tuple[float, float, float]:
    """`5,0.9,0.9` as z, y, x in µm."""
    numbers = [number for part in text.split(",") if (number := micrometres_in(part.strip())) is not None]
    if len(numbers) == 3 and len(text.split(",")) == 3 and is_sane((numbers[0], numbers[1], numbers[2])):
        return numbers[0], numbers[1], numbers[2]
    raise UsageError(
        f"--spacing-um needs three lengths from {MIN_UM:g} to {MAX_UM:g} µm: {text}",
        remedy="write Z,Y,X in µm, such as 5,0.994,0.994",
    )


def _write(target: Path, table: bytes) -> None:
    """A link is replaced, never followed."""
    with atomic_write(target) as stream:
        stream.write(table)


def _report(draft: Any, target: Path, doubt: str, *, is_written: bool) -> None:
    """What was understood, a `doubt` about what was given by hand, and what is left to do; on stderr for a dry run,
    whose output is the table.
    """
    module = importlib.import_module("stages.ingest.draft")
    tell = log.info if is_written else _to_stderr
    for note in (*draft.notes, *module.remarks_of(draft.rows, _SHOWN), *([doubt] if doubt else [])):
        tell(f"note: {note}")
    for column in ("image", "label"):
        if lacking := [row.candidate.id for row in draft.rows if not getattr(row.candidate, column)]:
            tell(f"fill in {column} for {_first(lacking)}, or take the row out")
    if empty := [row.candidate.id for row in draft.without_spacing]:
        tell(f"fill in spacing_z_um, spacing_y_um, spacing_x_um for {_first(empty)}, or use --spacing-um")
    tell(f"{'wrote' if is_written else 'would write'} {target}: {counted(len(draft.rows), 'volume')}")


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _to_stderr(text: str) -> None:
    typer.echo(visible(text), err=True)
