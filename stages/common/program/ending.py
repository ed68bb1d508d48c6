"""How a program of ours starts and ends: foreseen failures become a report and an exit code."""

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from stages.common.errors import CapillaryError, ExitCode, find_foreseen, path_error
from stages.common.program.messages import error_line, is_json


def exit_with(error: CapillaryError) -> NoReturn:
    """Print the report of `error` and leave with its exit code."""
    print_report(error)
    sys.exit(error.code)


def print_report(error: CapillaryError) -> None:
    """Print what `error` says, at every level: its report, or one JSON object."""
    facts = {"file": error.file, "value": error.value, "remedy": error.remedy, "exit_code": int(error.code)}
    _print(error_line(error.what, facts) if is_json() else error.report())


def _print(report: str) -> None:
    print(report, file=sys.stderr, flush=True)  # noqa: T201 - the one place that reports an error to the user


def run_main(main: Callable[[], None]) -> None:
    """Run a program's `main`; turn foreseen failures into a report and an exit code, others keep their traceback."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        foreseen = find_foreseen(error) or path_error(error)
        if foreseen is not None:
            exit_with(foreseen)
        if not is_json():
            raise
        _print(error_line(f"unexpected: {error!r}", {"exit_code": int(ExitCode.UNEXPECTED)}, sys.exc_info()))
        sys.exit(ExitCode.UNEXPECTED)
