"""Messages to the user while a program works: records of `logging`, printed as lines for people or as JSON.

Modules take a logger with `get_logger(__name__)`. Each program says once what it prints, with `print_messages`; until
then it prints everything but `debug`, for people.
"""

import dataclasses
import json
import logging
import math
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from stages.common.program.console import console
from stages.common.text import json_value, visible

LOG_LEVEL, LOG_FORMAT = "CAPILLARY_LOG_LEVEL", "CAPILLARY_LOG_FORMAT"
Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]
LEVELS: tuple[Level, ...] = get_args(Level)
FORMATS: tuple[Format, ...] = get_args(Format)

# levels that a line names; the others are what people expect to read
_NAMED = {logging.DEBUG: "debug: ", logging.WARNING: "warning: "}
_FACTS, _LEAD = "facts", "lead"
_FIELDS = {"time", "level", "logger", "message"}  # of every record as JSON


class _Printer(logging.Handler):
    """Prints each record on the console, where progress bars and tables are drawn, too."""

    format_name: Format = "text"
    stage: str = ""

    def emit(self, record: logging.LogRecord) -> None:
        """One line; one JSON object if those were asked for."""
        if self.format_name == "json":
            console.file.write(json_line(record, self.stage) + "\n")
            console.file.flush()
        else:
            console.print(text_line(record), markup=False, emoji=False)


_printer = _Printer(logging.INFO)


def get_logger(name: str) -> logging.Logger:
    """The logger of the module `name`, whose records are printed."""
    package = logging.getLogger(name.partition(".")[0])
    if _printer not in package.handlers:
        package.addHandler(_printer)
        package.setLevel(logging.DEBUG)  # the printer's level decides
        package.propagate = False  # libraries give the root logger handlers of their own: each line would come twice
    return logging.getLogger(name)


def print_messages(level: Level, form: Format, stage: str = "") -> None:
    """From now on print records of `level` and above in the format `form`. JSON names the `stage`, if there is one."""
    _printer.format_name, _printer.stage = form, stage
    _printer.setLevel(logging.getLevelNamesMapping()[level.upper()])


def print_nothing() -> None:
    """Print no record from now on: another process tells the same."""
    _printer.setLevel(logging.CRITICAL + 1)


def is_json() -> bool:
    """Whether messages are printed as JSON."""
    return _printer.format_name == "json"


def can_draw() -> bool:
    """Whether bars and live tables are shown: on a terminal, unless JSON or only warnings are asked for."""
    return console.is_terminal and not is_json() and _printer.level <= logging.INFO


def with_facts(facts: Any, lead: str | None = None) -> dict[str, Any]:
    """The fields of the dataclass `facts` as `extra` of a record: JSON has them, next to the words. None: nothing.

    `lead` begins the line for people, instead of the level's name.
    """
    known = {} if facts is None else {_FACTS: dataclasses.asdict(facts)}
    return known if lead is None else {**known, _LEAD: lead}


def relay(log: logging.Logger, line: str, head: str) -> None:
    """Print `line` of another program of ours after `head`. It was told the same level, so what it prints is shown.

    A record as JSON keeps its level and its facts.
    """
    record = _record_in(line)
    level = logging.getLevelNamesMapping().get(str(record.get("level", "info")).upper(), logging.INFO)
    facts = {
        name: value for name, value in record.items() if name not in _FIELDS and not isinstance(value, dict | list)
    }
    log.log(max(_printer.level, level), f"{head}{record.get('message', line)}", extra={_LEAD: "", _FACTS: facts})


def text_line(record: logging.LogRecord) -> str:
    """`record` for people: one line, and the traceback if there is one. What shows nothing is an escape."""
    lead = getattr(record, _LEAD, _NAMED.get(record.levelno, ""))
    line = f"{lead}{visible(record.getMessage().rstrip())}"
    return "\n".join([line, visible(_traceback(record), keep="\n")]) if record.exc_info else line


def json_line(record: logging.LogRecord, stage: str) -> str:
    """`record` as one line of JSON, in ASCII: time (UTC), level, logger, message; stage and facts if there are any."""
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    if stage:
        fields["stage"] = stage
    if record.exc_info:
        fields["traceback"] = _traceback(record)
    known = {**fields, **getattr(record, _FACTS, {})}
    return json.dumps({name: _as_json(value) for name, value in known.items()}, default=str)


def _as_json(value: Any) -> Any:
    """`value`; a number that JSON does not know (NaN, infinity) as a word."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def error_line(what: str, facts: Mapping[str, Any], exc_info: Any = None) -> str:
    """The line of JSON for what ends a program."""
    record = logging.LogRecord("capillary", logging.ERROR, "", 0, what, None, exc_info)
    setattr(record, _FACTS, {name: value for name, value in facts.items() if value is not None})
    return json_line(record, _printer.stage)


def _traceback(record: logging.LogRecord) -> str:
    return "".join(traceback.format_exception(*record.exc_info)).rstrip() if record.exc_info else ""


def message_of(line: str) -> str:
    """What a line of a program's output says: the message if it is a record as JSON, else the line as it is."""
    return str(_record_in(line).get("message", line))


def _record_in(line: str) -> dict[str, Any]:
    """The record that `line` is as JSON; empty for any other line."""
    if not line.startswith("{"):
        return {}
    try:
        record = json_value(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("message"), str) else {}
