"""The command line of `capillary dataset`."""

from pathlib import Path
from typing import Annotated

import typer

dataset = typer.Typer(help="Work with data sets: tables and pins (docs/datasets.md).", no_args_is_help=True)


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


@dataset.command()
def pin(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="hf://datasets/OWNER/NAME; @REVISION and /FOLDER may follow.",
            show_default=False,
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="File to write (default: configs/sources/NAME.hub.json).", show_default=False
        ),
    ] = None,
) -> None:
    """Pin a data set on the Hugging Face Hub to a commit, for ingest.source. Run it again to follow a branch."""
    from capillary.dataset.pin import PinRequest
    from capillary.dataset.pin import pin as pin_source

    pin_source(PinRequest(source=source, file=file, root=Path.cwd()))
