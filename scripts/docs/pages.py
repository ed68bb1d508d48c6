"""Reference pages that are generated, so that they cannot fall behind: commands, defaults of params, settings."""

import re
from collections.abc import Iterable, Iterator
from enum import EnumType
from pathlib import Path
from typing import Any, cast, get_args

from pydantic.fields import FieldInfo
from typer import Context
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from capillary.cli import app
from capillary.setting_values import variable_of
from capillary.settings import TOLD_BY_EXPERIMENTS, Settings
from scripts.docs.params_page import params_page
from serving.settings import ServeSettings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS_FILE = ".env.example"


def reference_pages() -> dict[str, str]:
    """Markdown by the page's path below docs/."""
    return {
        "reference/commands.md": commands_page(cast(TyperGroup, get_command(app))),
        "reference/defaults.md": params_page(ROOT),
        "reference/settings.md": settings_page(),
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


def settings_page() -> str:
    """Every setting of this machine and of the service, and the file that has the other variables."""
    own = [
        (variable_of(name), field) for name, field in Settings.model_fields.items() if name not in TOLD_BY_EXPERIMENTS
    ]
    service = [(str(field.validation_alias), field) for field in ServeSettings.model_fields.values()]
    both = _file_page("The file", SETTINGS_FILE, "sh", "[Security](../security.md)").replace("# ", "## ", 1)
    intro = (
        "A variable in the environment, or a line in `.env`. A variable in the environment wins; an empty one is unset."
    )
    return "\n\n".join(
        [
            f"# Settings of a machine\n\n{intro}",
            _settings_table("How stages run", "None of them may change a result.", own),
            _settings_table("The service", "For `capillary serve` ([more](../serve.md)).", service),
            both,
        ]
    )


def _settings_table(title: str, says: str, settings: Iterable[tuple[str, FieldInfo]]) -> str:
    rows = [
        f"| `{name}` | {_values(field)} | {_default(field)} | {field.description} |"
        for name, field in settings
        if field.description
    ]
    return "\n".join(
        [f"## {title}\n\n{says}\n", "| variable | values | default | meaning |", "|---|---|---|---|", *rows]
    )


def _values(field: FieldInfo) -> str:
    """The words that `field` takes; empty where its meaning says it."""
    kind: Any = field.annotation
    words = ("yes", "no") if kind is bool else tuple(kind) if isinstance(kind, EnumType) else get_args(kind)
    return ", ".join(f"`{word}`" for word in words if isinstance(word, str))


def _default(field: FieldInfo) -> str:
    value = field.get_default()
    if value is None or str(value) == "":
        return ""
    if isinstance(value, bool):
        value = "yes" if value else "no"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _file_page(title: str, name: str, language: str, more: str) -> str:
    """A page that shows the file `name` as it is."""
    text = (ROOT / name).read_text(encoding="utf-8").rstrip()
    return f"# {title}\n\n`{name}` as it ships. {more} says more.\n\n```{language}\n{text}\n```\n"
