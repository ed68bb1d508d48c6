"""The command line of `capillary export`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

export = typer.Typer(help="Export results and networks for other programs.", no_args_is_help=True)


@export.callback()
def _group() -> None:
    """Keeps a single command a subcommand, which typer would otherwise merge into the group."""


@export.command()
def crate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create.", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="Name of the crate (default: that of the project).", show_default=False)
    ] = None,
    license_name: Annotated[
        str,
        typer.Option(
            "--license", metavar="SPDX", help="License of the results (default: LICENSE).", show_default=False
        ),
    ] = "",
) -> None:
    """Write the current results and their provenance as a Workflow Run RO-Crate (docs/reproduce.md)."""
    from capillary.export.crate.write import CrateRequest, write_crate

    write_crate(CrateRequest(folder=folder, name=name, license=license_name), Path.cwd())


@export.command()
def bioimageio(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="NAME/VERSION, NAME@ALIAS or a model card file.", show_default=False)
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create.", show_default=False)],
    author: Annotated[
        list[str] | None, typer.Option(help="Author; may be repeated (default: user.name of Git).", show_default=False)
    ] = None,
    license_name: Annotated[
        str, typer.Option("--license", metavar="SPDX", help="License, such as CC-BY-4.0.", show_default=False)
    ] = "",
) -> None:
    """Write a BioImage.IO model package with test arrays (docs/export.md)."""
    from capillary.export.bioimageio import Export, run_export
    from capillary.lifetimes.stop import listening

    asked = Export(model=model, folder=folder, authors=tuple(author or ()), license=license_name)
    with listening() as stop:
        sys.exit(run_export(asked, Path.cwd(), stop))
