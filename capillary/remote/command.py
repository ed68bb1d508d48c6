"""The command line of `capillary remote`."""

from pathlib import Path
from typing import Annotated

import typer

from capillary.remote.kind import Kind

remote = typer.Typer(help="DVC's remote, for data (docs/remotes.md).", no_args_is_help=True)


@remote.callback()
def _group() -> None:
    """Without it typer would take the only command for the group itself."""


@remote.command()
def setup(
    kind: Annotated[Kind, typer.Argument(help="What it is.", show_default=False)],
    url: Annotated[str | None, typer.Option(help="Where it is; else you are asked.", show_default=False)] = None,
    user: Annotated[str | None, typer.Option(help="dagshub, ssh: the user there.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="Its name in .dvc/config.", show_default=False)] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(help="s3: a server other than Amazon's.", show_default=False)
    ] = None,
    default: Annotated[
        bool | None,
        typer.Option("--default/--no-default", help="dvc push goes there; else the first.", show_default=False),
    ] = None,
    mlflow: Annotated[
        bool | None,
        typer.Option("--mlflow/--no-mlflow", help="dagshub: runs and models too (.env).", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; replace a remote of that name.")] = False,
) -> None:
    """Set up a remote and prove it by a round trip. Secrets are asked for, or read from variables (docs/remotes.md)."""
    from capillary.remote.asking import Request, Terminal
    from capillary.remote.setup import set_up_remote

    request = Request(
        kind=kind, url=url, user=user, name=name, endpoint=endpoint_url, default=default, mlflow=mlflow, yes=yes
    )
    set_up_remote(request, Path.cwd(), Terminal())
