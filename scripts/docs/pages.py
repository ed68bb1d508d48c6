"""Reference pages that are generated, so that they cannot fall behind: commands, defaults of params, settings."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from typer import Context
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from capillary.cli import app

ROOT = Path(__file__).resolve().parents[2]
PARAMS_FILE, SETTINGS_FILE = "params.yaml", ".env.example"


def reference_pages() -> dict[str, str]:
    """Markdown by the page's path below docs/."""
    return {
        "reference/commands.md": commands_page(cast(TyperGroup, get_command(app))),
        "reference/defaults.md": _file_page("Defaults of the params", PARAMS_FILE, "yaml", "[Params](../params.md)"),
        "reference/settings.md": _file_page("Settings of a machine", SETTINGS_FILE, "sh", "[Compute](../compute.md)"),
    }


def commands_page(program: TyperGroup) -> str:
    """Every command of `program` that its help lists, with arguments and options."""
    commands = sorted(_visible(program, program.name or ""))
    return "\n\n".join(["# Commands", *(_command(name, command) for name, command in commands)]) + "\n"


def _visible(command: Any, name: str) -> Iterator[tuple[str, TyperCommand]]:
    """The commands below `command` by their full names; a group stands for what is in it."""
    if not isinstance(command, TyperGroup):
        yield name, command
        return
    for own, below in command.commands.items():
        if not below.hidden:
            yield from _visible(below, f"{name} {own}")


def _command(name: str, command: TyperCommand) -> str:
    context = Context(cast(Any, command), info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    rows = [row for param in command.params if (row := _row(param, context)) is not None]
    table = ["| argument or option | meaning |", "|---|---|", *rows] if rows else []
    help_text = re.sub(r"\bdocs/([a-z-]+)\.md", r"[\1](../\1.md)", command.help or "")
    return "\n".join([f"## {name}", "", help_text, "", f"```sh\n{usage}\n```", "", *table]).rstrip()


def _row(param: Any, context: Context) -> str | None:
    """A row of the table; None for a parameter that help hides."""
    record = param.get_help_record(context)
    if record is None:
        return None
    left, right = (cell.replace("|", "\\|") for cell in record)
    return f"| `{left}` | {right} |"


def _file_page(title: str, name: str, language: str, more: str) -> str:
    """A page that shows the file `name` as it is."""
    text = (ROOT / name).read_text(encoding="utf-8").rstrip()
    return f"# {title}\n\n`{name}` as it ships. {more} says more.\n\n```{language}\n{text}\n```\n"
