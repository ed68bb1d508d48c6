"""Watches the resident memory of this process and its descendants, and says so once when it crosses a limit.

It acts before the kernel does: a process that is killed for memory writes no checkpoint and leaves no word. The
memory is the process tree's own, not the machine's, so what others take changes nothing.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stages.common.errors import CapillaryError, ExitCode
from stages.common.monitoring.process_memory import ProcessTree
from stages.common.program.messages import get_logger

log = get_logger(__name__)

POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """What was measured when the limit was crossed, in GB (10⁹ bytes)."""

    limit_gb: float
    measured_gb: float

    def error(self, where: str, outcome: str) -> CapillaryError:
        """Why the stage ends; `where` it was, and the `outcome` for who repeats it."""
        return CapillaryError(
            f"stopped by the memory guard {where}: the process tree uses more memory than CAPILLARY_MEMORY_ABORT_GB "
            f"allows",
            remedy="raise CAPILLARY_MEMORY_ABORT_GB, or use less memory: a smaller CAPILLARY_MICRO_BATCH, fewer "
            f"CAPILLARY_WORKERS, cache: map in configs/compute.yaml; {outcome}",
            code=ExitCode.MEMORY,
            value=f"{self.measured_gb:.2f} GB resident, the limit is {self.limit_gb:g} GB",
        )


class MemoryGuard:
    """`crossing` is what crossed the limit, None so far."""

    def __init__(self) -> None:
        self.crossing: Crossing | None = None

    def raise_if_crossed(self, where: str) -> None:
        """For work that keeps nothing: raise the crossing as an error."""
        if self.crossing is not None:
            raise self.crossing.error(where, "then repeat the same command")


@contextlib.contextmanager
def guarding(limit_gb: float | None, poll_s: float = POLL_S) -> Iterator[MemoryGuard]:
    """Watch within the block, without a thread if there is no limit."""
    guard = MemoryGuard()
    if limit_gb is None:
        yield guard
        return
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(guard, limit_gb, poll_s, done.wait), name="memory guard", daemon=True)
    watch.start()
    try:
        yield guard
    finally:
        done.set()
        watch.join()


def _watch(guard: MemoryGuard, limit_gb: float, poll_s: float, wait: Callable[[float], bool]) -> None:
    tree = ProcessTree()
    while not wait(poll_s):
        measured_gb = tree.rss_gb()
        if measured_gb > limit_gb:
            guard.crossing = Crossing(limit_gb=limit_gb, measured_gb=measured_gb)
            log.warning(f"memory guard: {measured_gb:.2f} GB resident, the limit is {limit_gb:g} GB: stopping")
            return
