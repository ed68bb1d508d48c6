"""The command line of `capillary cache`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

cache = typer.Typer(help="Check recorded results (docs/cache.md).", no_args_is_help=True)


@cache.callback()
def _cache() -> None:
    """Check recorded results (docs/cache.md)."""


@cache.command()
def audit(
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the recorded results to recompute.")] = 0.1,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the random choice, to repeat one (default: random).", show_default=False),
    ] = None,
    of_stage: Annotated[
        str | None, typer.Option("--stage", help="Only this stage, or this cell, such as train@dice_ce-0.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
) -> None:
    """Recompute a random share of the recorded results and list those that differ (docs/cache.md)."""
    from capillary.cache.audit import Question, run_audit
    from capillary.lifetimes.stop import listening

    question = Question(share=share, seed=seed, stage=of_stage)
    with listening() as stop:
        sys.exit(run_audit(question, Path.cwd(), stop, json=as_json))
