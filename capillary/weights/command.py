"""The command line of `capillary weights`."""

import sys
from pathlib import Path

import typer

weights = typer.Typer(help="Keep networks in DVC as well (docs/remotes.md).", no_args_is_help=True)


@weights.callback()
def _group() -> None:
    """Keeps a single command a subcommand, which typer would otherwise merge into the group."""


@weights.command()
def keep() -> None:
    """Update weights/ from the cards in models/, ready for dvc push; trains nothing."""
    from capillary.lifetimes.stop import listening
    from capillary.weights.keep import keep_weights

    with listening() as stop:
        sys.exit(keep_weights(Path.cwd(), stop))
