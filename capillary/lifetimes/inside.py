"""The first process in a stage's container: starts the stage, passes requests on, and ends it with its launcher.

    python -P inside.pyz stages.train --loss dice_ce --fold 0

Standard input is the launcher's attached connection. Its first line is JSON: the variables that `docker inspect`
must not show, and the grace period. Each further line is the number of a signal for the stage. When the connection
ends, the launcher, its container or the machine that it ran on is gone: the stage is asked to stop, gets the grace
period for a last checkpoint, and is killed. The container ends with this process, and removes itself.

It runs in the stage's image, which holds none of the tool: carried.py packs it with the modules that it imports.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

from stages.common.lifetimes.shutdown import REQUESTS, Action, Event, Policy, Supervision, event_of
from stages.common.lifetimes.signals import STOPS, install, signal_group

POLICY = Policy(repeated=REQUESTS)


class Child:
    """The stage, in its own process group."""

    def __init__(self, argv: list[str], environment: dict[str, str], grace_s: float) -> None:
        self._grace_s = grace_s
        self._process = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, process_group=0)
        self._killer: threading.Timer | None = None
        asked = {Action.FORWARD: self._forward, Action.START_GRACE: self._start_grace}
        self._supervision = Supervision(POLICY, {**asked, Action.KILL: self.kill, Action.SWEEP: self.kill})

    def ask(self, number: int) -> None:
        """Send the stage a signal; one that asks it to end starts the grace period, once."""
        self._supervision.take(event_of(number), signal.Signals(number))

    def leave(self) -> None:
        """Ask the stage to end because its launcher is gone."""
        self._supervision.take(Event.PARENT_GONE)

    def kill(self, _number: int = signal.SIGKILL) -> None:
        """End the stage and what it started."""
        signal_group(self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit code, 128 + n for an end by signal n; the stage's workers are gone, too."""
        code = self._process.wait()
        self._supervision.take(Event.CHILD_ENDED)
        return code if code >= 0 else 128 - code

    def _forward(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _start_grace(self, _number: int) -> None:
        self._killer = threading.Timer(self._grace_s, self._supervision.take, [Event.GRACE_OVER])
        self._killer.daemon = True
        self._killer.start()


def obey(child: Child) -> None:
    """Pass each requested signal on; the end of the connection asks the stage to stop."""
    for line in sys.stdin:
        child.ask(int(line))
    child.leave()


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
    install(dict.fromkeys(STOPS, pass_on))  # docker stop, or the daemon going down
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
