"""The first process in a stage's container: starts the stage, passes requests on, and ends it with its launcher.

    python -P inside.py stages.train --loss dice_ce --fold 0

Standard input is the launcher's attached connection. Its first line is JSON: the variables that no `docker inspect`
shall show, and the grace period. Each further line is the number of a signal for the stage. When the connection ends,
the launcher, its container or the machine that it ran on is gone: the stage is asked to stop, gets the grace period
for a last checkpoint, and is killed. The container ends with this process, and removes itself.

Standard library alone: it runs in the stage's image, which holds none of the tool.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child:
    """The stage, in a process group of its own."""

    def __init__(self, argv: list[str], environment: dict[str, str], grace_s: float) -> None:
        self._grace_s = grace_s
        self._process = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, process_group=0)
        self._killer: threading.Timer | None = None

    def ask(self, number: int) -> None:
        """Send the stage a signal; one that asks it to end starts the grace period, once."""
        if number == signal.SIGKILL:
            self.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        if self._killer is None:
            self._killer = threading.Timer(self._grace_s, self.kill)
            self._killer.daemon = True
            self._killer.start()

    def kill(self) -> None:
        """End the stage and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit code, 128 + n for an end by signal n; the stage's workers are gone, too."""
        code = self._process.wait()
        self.kill()
        return code if code >= 0 else 128 - code


def obey(child: Child) -> None:
    """Pass each requested signal on; the end of the connection asks the stage to stop."""
    for line in sys.stdin:
        child.ask(int(line))
    child.ask(signal.SIGTERM)


def main() -> int:
    """Run the stage that the arguments name; returns its exit code."""
    first = sys.stdin.readline()
    if not first:
        return 128 + signal.SIGTERM  # the launcher was gone before it could say what to run
    start = json.loads(first)
    asked: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        if child is not None:
            child.ask(number)

    child: Child | None = None
    for each in PASSED_ON:  # docker stop, or the daemon going down
        signal.signal(each, pass_on)
    child = Child([sys.executable, "-m", *sys.argv[1:]], {**os.environ, **start["environment"]}, start["grace_s"])
    for number in asked:
        child.ask(number)
    threading.Thread(target=obey, args=(child,), daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    # not sys.exit: the thread may sit in a read of stdin, whose lock the end of the interpreter would wait for
    code = main()
    sys.stdout.flush()
    os._exit(code)
