"""The command line of `capillary remote`."""

from pathlib import Path
from typing import Annotated

import typer

from capillary.remote.kind import Kind

remote = typer.Typer(help="Set up DVC's remote for data (docs/remotes.md).", no_args_is_help=True)


@remote.callback()
def _group() -> None:
    """Keeps a single command a subcommand, which typer would otherwise merge into the group."""


@remote.command()
def setup(
    kind: Annotated[Kind, typer.Argument(help="Kind of remote.", show_default=False)],
    url: Annotated[str | None, typer.Option(help="Its address (default: ask).", show_default=False)] = None,
    user: Annotated[str | None, typer.Option(help="dagshub, ssh: user name there.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="Name in .dvc/config.", show_default=False)] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(help="s3: address of a server other than Amazon's.", show_default=False)
    ] = None,
    default: Annotated[
        bool | None,
        typer.Option(
            "--default/--no-default",
            help="Make it the default remote of dvc push (default: if it is the first).",
            show_default=False,
        ),
    ] = None,
    mlflow: Annotated[
        bool | None,
        typer.Option(
            "--mlflow/--no-mlflow", help="dagshub: also use it for runs and models (.env).", show_default=False
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; replace a remote of that name.")] = False,
) -> None:
    """Set up a remote and test it with a round trip. Secrets are typed, or read from variables (docs/remotes.md)."""
    from capillary.remote.asking import Request, Terminal
    from capillary.remote.setup import set_up_remote

    request = Request(
        kind=kind, url=url, user=user, name=name, endpoint=endpoint_url, default=default, mlflow=mlflow, yes=yes
    )
    set_up_remote(request, Path.cwd(), Terminal())
