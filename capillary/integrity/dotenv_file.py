""".env: read whole, or refused by its line, so that no setting is lost without a word."""

import io
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from stages.common.errors import UsageError


def read_dotenv(file: Path) -> Mapping[str, str | None]:
    """The variables that `file` sets, with None where a name has no value; empty if the file is missing.

    Raises CapillaryError (usage) for a folder, another encoding, and a line that cannot be read: no setting is lost.
    """
    if file.is_dir():
        remedy = (
            f"remove it (rmdir {file.name}) and write the file; Docker makes a folder where it misses a file to mount"
        )
        raise UsageError(f"{file.name} is a folder, not a file", file=file, remedy=remedy)
    if not file.exists():
        return {}
    text = _text_of(file)
    for statement in parse_stream(io.StringIO(text)):
        if statement.error:  # its content may be a secret
            shown = statement.original.string
            empty = shown[: len(shown) - len(shown.lstrip())].count("\n")  # lines before it are part of it
            raise UsageError(
                f"line {statement.original.line + empty} of {file.name} cannot be read",
                file=file,
                remedy="write NAME=value on a line, close each quote that you open, and put # before a note",
            )
    return dotenv_values(stream=io.StringIO(text))


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file.name} is not UTF-8 text (at byte {error.start:,})",
            file=file,
            remedy="save it as UTF-8: PowerShell's > writes UTF-16, older editors a code page of their own",
        ) from None
