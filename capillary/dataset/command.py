"""The command line of `capillary dataset`."""

from pathlib import Path
from typing import Annotated

import typer

dataset = typer.Typer(help="The table of a folder of stacks (docs/datasets.md).", no_args_is_help=True)


@dataset.callback()
def _group() -> None:
    """Without it typer would take the only command for the group itself."""


@dataset.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of stacks.", show_default=False)],
    spacing_um: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="For images whose header has no spacing.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset.csv.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the table, write nothing.")] = False,
) -> None:
    """Write FOLDER/dataset.csv as ingest understands the folder, for you to correct."""
    from capillary.dataset.init import Request, write_draft

    write_draft(Request(folder=folder, spacing_um=spacing_um, force=force, dry_run=dry_run))
