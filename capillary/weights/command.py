"""The command line of `capillary weights`."""

import sys
from pathlib import Path

import typer

weights = typer.Typer(help="Networks that DVC keeps, too (docs/remotes.md).", no_args_is_help=True)


@weights.callback()
def _group() -> None:
    """Without it typer would take the only command for the group itself."""


@weights.command()
def keep() -> None:
    """Bring weights/ up to date with the cards in models/, for dvc push; nothing is trained."""
    from capillary.lifetimes.stop import listening
    from capillary.weights.keep import keep_weights

    with listening() as stop:
        sys.exit(keep_weights(Path.cwd(), stop))
