"""Ends a stage whose launcher was killed: a process of its own, since a killed launcher can do nothing any more.

    python -I -S leash.py

Its standard input brings the number of the stage's process group, then nothing until it is closed. Only
the launcher holds the other end of that pipe, so it closes when the launcher ends, in whichever way.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def leash() -> Iterator[Callable[[int], None]]:
    """A function that ties a process group to this process: it is killed should this process die within the block."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends this process's group must not end the leash first
        text=True,
    )
    assert process.stdin is not None
    pipe = process.stdin

    def tie(group: int) -> None:
        pipe.write(f"{group}\n")
        pipe.flush()

    try:
        yield tie
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


def kill_group(group: int) -> None:
    """Kill all processes of `group` that are left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    """Wait until the launcher is gone, then kill what it left."""
    group = sys.stdin.readline()
    sys.stdin.read()
    if group:
        kill_group(int(group))


if __name__ == "__main__":
    main()
