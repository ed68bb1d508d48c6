"""Errors that a user can act on: what failed and what to do. Others keep their traceback."""

import sys
from collections.abc import Callable

PARAMS, DATA, SERVICE = 3, 4, 7  # exit codes, the same as the launcher's own


class StageError(Exception):
    """A failure that was foreseen; the stage ends with the exit code `code`."""

    def __init__(self, what: str, *, remedy: str, code: int = DATA) -> None:
        super().__init__(what)
        self.remedy = remedy
        self.code = code


def run_main(main: Callable[[], None]) -> None:
    """Run a stage's `main`; report a StageError in two lines."""
    try:
        main()
    except StageError as error:
        print(f"error: {error}\n  remedy: {error.remedy}", file=sys.stderr)
        sys.exit(error.code)
