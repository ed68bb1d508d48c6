"""Ends a stage whose launcher was killed: its own process, since a killed launcher can do nothing any more.

    python -I -S leash.py [COMMAND ...]

Its standard input brings the number of the stage's process group, and `done` when all is well. Only the launcher holds
the other end of that pipe, so it closes when the launcher ends, in whichever way. A command is run instead of killing
a group.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def leash(*command: str) -> Iterator[Callable[[int], None]]:
    """A function that ties a process group to this process: it is killed should this process die within the block.

    With a `command`, that is run instead.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # what ends this process's group must not end the leash first
        text=True,
    )
    assert process.stdin is not None
    pipe = process.stdin
    # a double fork: a kill of the launcher's process tree does not take the leash with it
    process.wait()

    def tie(group: int) -> None:
        pipe.write(f"{group}\n")
        pipe.flush()

    try:
        yield tie
    finally:
        with contextlib.suppress(BrokenPipeError), pipe:
            pipe.write("done\n")


def kill_group(group: int) -> None:
    """Kill all processes of `group` that are left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    """Wait until the launcher is done or gone, and kill what it left."""
    if os.fork():
        os._exit(0)
    words = sys.stdin.read().split()
    if words[-1:] == ["done"]:
        return
    if sys.argv[1:]:
        os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - no shell is wanted
    if words:
        kill_group(int(words[0]))


if __name__ == "__main__":
    main()
