"""The command line of `capillary cache`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

cache = typer.Typer(help="Recorded results.", no_args_is_help=True)


@cache.callback()
def _cache() -> None:
    """Recorded results."""


@cache.command()
def audit(
    share: Annotated[float, typer.Option(min=0, max=1, help="How much of the recorded results.")] = 0.1,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Chooses the same results again; else random.", show_default=False)
    ] = None,
    of_stage: Annotated[
        str | None, typer.Option("--stage", help="Of one stage, or one cell such as train@dice_ce-0.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object on stdout.")] = False,
) -> None:
    """Recompute a random share of the recorded results and name those that come out otherwise (docs/cache.md)."""
    from capillary.cache.audit import Question, run_audit
    from capillary.lifetimes.stop import listening

    question = Question(share=share, seed=seed, stage=of_stage)
    with listening() as stop:
        sys.exit(run_audit(question, Path.cwd(), stop, json=as_json))
