"""The command line of `capillary doctor`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
) -> None:
    """Say what is wrong between this machine and its servers (docs/doctor.md). Exit code 9 for a fault."""
    from capillary.doctor import examine
    from capillary.settings import read_settings
    from stages.common.errors import ExitCode
    from stages.common.program.console import answer_is_for_program

    if as_json:
        answer_is_for_program()
    report = examine.examine(Path.cwd(), read_settings(Path.cwd()))
    if as_json:
        typer.echo(examine.as_json(report))
    else:
        examine.show(report)
    sys.exit(ExitCode.PREFLIGHT if report.failed else 0)
