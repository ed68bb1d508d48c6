"""A stage's program in the test's own process: what it prints, and the exit code of a process that runs it."""

import contextlib
import io
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from stages.common.program.ending import run_main


def run_in_process(main: Callable[[], None], folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`main` of a stage in `folder`. A failure that was not foreseen is raised, as the traceback of a process."""
    out, err = io.StringIO(), io.StringIO()
    variables = mock.patch.dict(os.environ, environment)
    with contextlib.chdir(folder), variables, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = _exit_code(main)
    return subprocess.CompletedProcess([main.__module__], code, out.getvalue(), err.getvalue())


def _exit_code(main: Callable[[], None]) -> int:
    try:
        run_main(main)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
