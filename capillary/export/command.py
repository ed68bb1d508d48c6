"""The command line of `capillary export`."""

import sys
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


@export.command()
def bioimageio(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="NAME/VERSION, NAME@ALIAS or a card's file.", show_default=False)
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.", show_default=False)],
    author: Annotated[
        list[str] | None, typer.Option(help="Once for each; else Git's user.name.", show_default=False)
    ] = None,
    license_name: Annotated[
        str, typer.Option("--license", metavar="SPDX", help="Such as CC-BY-4.0.", show_default=False)
    ] = "",
) -> None:
    """Write a BioImage.IO model package, with test arrays; bioimageio test checks it (docs/export.md)."""
    from capillary.export.bioimageio import Export, run_export
    from capillary.lifetimes.stop import listening

    asked = Export(model=model, folder=folder, authors=tuple(author or ()), license=license_name)
    with listening() as stop:
        sys.exit(run_export(asked, Path.cwd(), stop))
