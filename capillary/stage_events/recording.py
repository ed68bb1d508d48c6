"""Listeners around a stage: each in its own thread, so that none fails a stage or makes it wait."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from capillary.settings import Settings
from capillary.stage_events.stage_run import StageRun
from stages.common.errors import find_foreseen
from stages.common.program.messages import get_logger
from stages.common.text import visible, without_login

log = get_logger(__name__)

LIMIT_S = 2.0  # that the end of a stage may wait for its listeners, all in all
BEAT_S = 15.0
KEY = "OPENLINEAGE_API_KEY"


class Listener(Protocol):
    """Who hears of one run of a stage. Whatever goes wrong is raised, and nothing more is sent then."""

    def start(self, at: datetime) -> object:
        """The stage begins."""

    def beat(self, at: datetime) -> object:
        """It still runs; every BEAT_S."""

    def end(self, code: int, at: datetime) -> object:
        """It ended with an exit code."""


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A way to a listener. `connect` loads what it needs, in the listener's thread: that takes up to a second."""

    name: str
    address: str
    connect: Callable[[StageRun], Listener]


def channels(settings: Settings) -> list[Channel]:
    """Those that the settings ask for."""
    found = []
    if (lineage := settings.lineage) is not None:

        def to_catalogue(run: StageRun) -> Listener:
            from capillary.stage_events.lineage import Catalogue

            return Catalogue(run, lineage, settings.variables.get(KEY, ""))

        found.append(Channel(name="lineage", address=lineage, connect=to_catalogue))
    if (gateway := settings.pushgateway) is not None:

        def to_gateway(run: StageRun) -> Listener:
            from capillary.stage_events.figures import Gateway

            return Gateway(run, gateway)

        found.append(Channel(name="figures", address=gateway, connect=to_gateway))
    return found


@contextlib.contextmanager
def recorded(
    run: Callable[[], StageRun], listening: Sequence[Channel], is_first: Callable[[str], bool]
) -> Iterator[list[int]]:
    """A block in which a stage runs; it appends the exit code to the list that it is given.

    What goes wrong is said where `is_first` agrees for the channel's name: once in a run.
    """
    codes: list[int] = []
    whole = run() if listening else None
    threads = [_ListenerThread(channel, whole) for channel in listening if whole is not None]
    try:
        yield codes
    except Exception as error:
        if foreseen := find_foreseen(error):
            codes.append(foreseen.code)  # that of the process, which reports it
        raise
    finally:
        for thread in threads:
            thread.end(codes[-1] if codes else 1)
        deadline = time.monotonic() + LIMIT_S
        for thread in threads:
            channel, fault = thread.channel, thread.fault_at(deadline)
            if fault and is_first(channel.name):
                log.warning(f"no {channel.name} ({without_login(channel.address)}): {fault}; stages run without it")


class _ListenerThread:
    """A daemon thread that connects, then sends what it is given. Whatever fails there ends it, and is kept."""

    def __init__(self, channel: Channel, run: StageRun) -> None:
        self.channel, self._run = channel, run
        self._endings: queue.SimpleQueue[tuple[int, datetime]] = queue.SimpleQueue()
        self._fault = ""
        self._started = datetime.now(UTC)
        self._thread = threading.Thread(target=self._work, name=channel.name, daemon=True)
        self._thread.start()

    def end(self, code: int) -> None:
        """Have the last event sent."""
        self._endings.put((code, datetime.now(UTC)))

    def fault_at(self, deadline: float) -> str:
        """What went wrong, empty for nothing; waits until `deadline`, of time.monotonic(), at most."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return f"no answer within {LIMIT_S:g} s" if self._thread.is_alive() else self._fault

    def _work(self) -> None:
        try:
            self._send()
        except ImportError as error:
            self._fault = f"{error.name or error} is not installed (./just setup)"
        except Exception as error:  # noqa: BLE001 - a listener must not fail a stage: what it was is said at the end
            self._fault = visible(without_login(f"{type(error).__name__}: {error}"))[:300]

    def _send(self) -> None:
        listener = self.channel.connect(self._run)
        listener.start(self._started)
        while True:
            try:
                code, at = self._endings.get(timeout=BEAT_S)
            except queue.Empty:
                listener.beat(datetime.now(UTC))
            else:
                listener.end(code, at)
                return
