"""The commands on registered models. What each needs is imported when it runs."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

models = typer.Typer(help="List registered models, or convert those of earlier versions.", invoke_without_command=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]
Reason = Annotated[str, typer.Option(help="Reason, kept in the history.", show_default=False)]
Reference = Annotated[str, typer.Argument(metavar="NAME@ALIAS|NAME/VERSION", show_default=False)]


def add_commands(app: typer.Typer) -> None:
    """Add what is done with registered models to `app`."""
    app.add_typer(models, name="models")
    for command in (show, promote, rollback, compare):
        app.command()(command)


@models.callback()
def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    """List registered models: trainings, aliases and the deciding metric (docs/models.md)."""
    if context.invoked_subcommand is not None:
        return
    from capillary.models.known import known_names
    from capillary.models.tables import show_models

    _ask(("list", *known_names(Path.cwd())), show_models, as_json=as_json)


@models.command()
def convert(
    references: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME[/VERSION|@ALIAS]", help="Models to convert.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Convert every version of every model.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Unpickle without asking.")] = False,
) -> None:
    """Convert pickled models of earlier versions to safetensors and a description (docs/models.md)."""
    if bool(references) == every:
        raise typer.BadParameter("Name models, or give --all.")
    from capillary.lifetimes.stop import listening
    from capillary.models.convert import Conversion, run_conversion

    conversion = Conversion(references=tuple(references or ()), agreed=yes)
    with listening() as stop:
        sys.exit(run_conversion(conversion, Path.cwd(), stop, lambda text: sys.stdin.isatty() and typer.confirm(text)))


def show(
    reference: Annotated[str, typer.Argument(metavar="NAME|NAME@ALIAS|NAME/VERSION", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Show a registered model with the history of its champions, or one version of it."""
    from capillary.models.tables import show_one

    _ask(("show", "--", reference), show_one, as_json=as_json)


def promote(reference: Reference, reason: Reason, as_json: AsJson = False) -> None:
    """Make a registered training the champion of its model, whatever its metric."""
    _decide("promote", reference, reason, as_json=as_json)


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Model, such as capillary-default.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Make the previous champion of a model its champion again."""
    if "@" in name or "/" in name:
        raise typer.BadParameter(
            f"{name} names one version. Give its model, {name.replace('/', '@').partition('@')[0]}; "
            "or choose a version with capillary promote."
        )
    _decide("rollback", name, reason, as_json=as_json)


def compare(one: Reference, other: Reference, as_json: AsJson = False) -> None:
    """Compare two registered trainings: params that differ, metrics, paired differences on common volumes."""
    from capillary.models.tables import show_comparison

    _ask(("compare", "--", one, other), show_comparison, as_json=as_json)


def _decide(step: str, reference: str, reason: str, *, as_json: bool) -> None:
    from capillary.models.known import who_asks
    from capillary.models.tables import show_decision

    argv = (step, f"--who={who_asks(Path.cwd())}", f"--reason={reason}", "--", reference)
    _ask(argv, show_decision, as_json=as_json)


def _ask(argv: Sequence[str], display: Callable[[dict[str, Any]], None], *, as_json: bool) -> None:
    """Ask, show the answer, leave with the exit code."""
    import json

    from capillary.lifetimes.stop import listening
    from capillary.models.ask import ask_registry
    from stages.common.program.console import answer_is_for_program

    if as_json:
        answer_is_for_program()
    with listening() as stop:
        code, answer = ask_registry(argv, Path.cwd(), stop)
    if code:
        sys.exit(code)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))  # in ASCII: it holds what others wrote on a server
    else:
        display(answer)
