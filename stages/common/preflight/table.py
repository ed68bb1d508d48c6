"""What a person sees of a report: a table, or the lines that matter."""

import logging

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stages.common.preflight.check import Check, Report, Status
from stages.common.program.console import plain
from stages.common.program.messages import with_facts

_LEVELS = {Status.PASS: logging.INFO, Status.WARN: logging.WARNING, Status.FAIL: logging.ERROR}
STYLES = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


def print_table(report: Report, console: Console) -> None:
    """Every check on a line, then what to do about those that are not well."""
    table = Table("check", "status", "value", "threshold", box=None, pad_edge=False)
    for check in report.checks:
        status = plain(check.status, STYLES[check.status])
        table.add_row(plain(check.name), status, plain(check.value), plain(check.threshold))
    console.print(table)
    for check in (*report.having(Status.WARN), *report.having(Status.FAIL)):
        console.print(Text.assemble(plain(check.status, STYLES[check.status]), plain(f" {check.name}: {check.remedy}")))
    console.print(summary(report))


def lines(report: Report) -> list[str]:
    """One line per check, and the summary."""
    return [*(f"{check.status} {_words(check)}" for check in report.checks), summary(report)]


def log_checks(report: Report, log: logging.Logger, *, every: bool = False) -> None:
    """The lines of the checks that are not well, or of `every` one, as messages, and the summary."""
    for check in report.checks:
        if every or check.status is not Status.PASS:
            log.log(_LEVELS[check.status], _words(check), extra=with_facts(check, f"{check.status} "))
    log.info(summary(report))


def summary(report: Report) -> str:
    """`14 passed, 1 warning, 0 failed`."""
    passed, warned, failed = (len(report.having(status)) for status in Status)
    return f"preflight: {passed} passed, {warned} warning{'' if warned == 1 else 's'}, {failed} failed"


def _words(check: Check) -> str:
    wanted = f" ({check.threshold})" if check.threshold else ""
    remedy = f"; remedy: {check.remedy}" if check.remedy else ""
    return f"{check.name}: {check.value}{wanted}{remedy}"
