"""-v, --quiet and --log-format: options of every command, which say what it and the stages that it starts print."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from stages.common.program.messages import FORMATS, LOG_FORMAT, LOG_LEVEL, print_messages

_PANEL = "Messages"
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also print details.", rich_help_panel=_PANEL)]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print only warnings, errors and what was asked for.", rich_help_panel=_PANEL),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(FORMATS),
        help="How messages are printed (docs/messages.md).",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]


def add_message_options(app: typer.Typer) -> None:
    """Give the options to all commands of `app` and of its groups, and to groups that are commands themselves."""
    for command in app.registered_commands:
        command.callback = _with_options(command.callback, choose_messages)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_message_options(group.typer_instance)
    own = app.registered_callback
    if own is not None and (app.info.invoke_without_command or own.invoke_without_command) is True:
        own.callback = _with_options(own.callback, choose_messages)


def set_variables(verbose: Verbose = False, quiet: Quiet = False, log_format: LogFormat = None) -> None:
    """Let the command that follows, and the commands of DVC and the stages that it starts, print what is asked for.

    Raises typer.BadParameter for two levels or an unknown format.
    """
    if verbose and quiet:
        raise typer.BadParameter("Give --verbose or --quiet, not both.")
    if log_format not in (None, *FORMATS):
        raise typer.BadParameter(f"{log_format} is none of {', '.join(FORMATS)}.", param_hint="--log-format")
    if verbose or quiet:
        os.environ[LOG_LEVEL] = "debug" if verbose else "warning"
    if log_format:
        os.environ[LOG_FORMAT] = log_format


def choose_messages(verbose: bool, quiet: bool, log_format: str | None) -> None:
    """The same, and print so from now on, or as the environment and .env say. Raises CapillaryError for a wrong one."""
    from capillary.settings import read_message_settings

    set_variables(verbose, quiet, log_format)
    settings = read_message_settings(Path.cwd())
    print_messages(settings.log_level, settings.log_format)


def with_variables(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` with the options, for what runs before another command does."""
    return _with_options(command, set_variables)


def _with_options(command: Callable[..., Any] | None, take: Callable[..., None]) -> Callable[..., Any]:
    """`command` with the options after its own; `take` gets their values, and `command` does not see them."""
    assert command is not None  # typer keeps it as optional
    options = inspect.signature(set_variables).parameters

    @functools.wraps(command)
    def chosen(*arguments: Any, **named: Any) -> Any:
        take(**{name: named.pop(name) for name in options})
        return command(*arguments, **named)

    own = inspect.signature(command, eval_str=True)
    parameters = [*own.parameters.values(), *(each.replace(kind=each.KEYWORD_ONLY) for each in options.values())]
    chosen.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # what typer reads
    chosen.__annotations__ = {each.name: each.annotation for each in parameters}
    return chosen
