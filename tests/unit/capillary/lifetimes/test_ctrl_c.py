"""Ctrl-C in a command that has no handler of its own: exit code 130, and never a traceback."""

import signal
import subprocess
import sys

import pytest

from tests.support.parts import REPOSITORY

PRESS = "os.kill(os.getpid(), signal.SIGINT)"
# how a command continues after the first Ctrl-C
COMMANDS = {
    "ends": f"{PRESS}",
    "cleans up": f"""
        try:
            {PRESS}
        finally:
            {PRESS}
            sys.stderr.write("the second one was not heeded")
    """,
    "waits at its end": f"""
        atexit.register(lambda: {PRESS})
        {PRESS}
    """,
}
PROGRAM = """
import atexit, os, signal, sys, textwrap
signal.signal(signal.SIGINT, {handler})
import capillary.cli
from capillary.__main__ import main

capillary.cli.app = lambda: exec(textwrap.dedent({command!r}))
sys.argv = ["capillary", "check"]
main()
"""


def _run(command: str, handler: str) -> "subprocess.CompletedProcess[str]":
    program = PROGRAM.format(handler=handler, command=command)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, check=False, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_second_ctrl_c_ends_a_command_without_a_traceback(command: str) -> None:
    """While it cleans up, and in what it does at its end."""
    done = _run(command, "signal.default_int_handler")
    assert (done.returncode, done.stderr, done.stdout) == (128 + signal.SIGINT, "", "")


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    """A command that was put into the background with nohup runs on."""
    done = _run(f"{PRESS}; {PRESS}; print('done')", "signal.SIG_IGN")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "done\n")
