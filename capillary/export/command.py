"""The command line of `capillary export`."""

from pathlib import Path
from typing import Annotated

import typer

export = typer.Typer(help="Results and networks for other programs.", no_args_is_help=True)


@export.callback()
def _group() -> None:
    """Without it typer would take the only command for the group itself."""


@export.command()
def crate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Of the crate; else the project's.", show_default=False)] = None,
    license_name: Annotated[
        str, typer.Option("--license", metavar="SPDX", help="Of the results; else LICENSE.", show_default=False)
    ] = "",
) -> None:
    """Write the present results and how they came to be as a Workflow Run RO-Crate (docs/reproduce.md)."""
    from capillary.export.crate.write import CrateRequest, write_crate

    write_crate(CrateRequest(folder=folder, name=name, license=license_name), Path.cwd())
