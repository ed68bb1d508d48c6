"""The command line of `capillary dataset`."""

from pathlib import Path
from typing import Annotated

import typer

dataset = typer.Typer(help="Work with tables of stacks (docs/datasets.md).", no_args_is_help=True)


@dataset.callback()
def _group() -> None:
    """Keeps a single command a subcommand, which typer would otherwise merge into the group."""


@dataset.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of stacks.", show_default=False)],
    spacing_um: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Spacing for images whose header has none.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing dataset.csv.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the table without writing it.")] = False,
) -> None:
    """Write FOLDER/dataset.csv the way ingest reads the folder, for you to correct."""
    from capillary.dataset.init import Request, write_draft

    write_draft(Request(folder=folder, spacing_um=spacing_um, force=force, dry_run=dry_run))
