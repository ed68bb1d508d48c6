"""Processes that a stage left in a session of their own, where no signal to its group reaches them."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import psutil

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@contextlib.contextmanager
def no_orphans() -> Iterator[None]:
    """What is started within the block, and by that, has ended after it, in whatever session or group it is.

    Who loses its parent gets this process as its parent, which kills all that it has at the end. Linux alone has this:
    elsewhere such processes are left.
    """
    before = set(psutil.Process().children())
    if not _adopt(orphans=True):
        yield
        return
    try:
        yield
    finally:
        try:
            while left := [child for child in psutil.Process().children(recursive=True) if child not in before]:
                for child in left:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
                psutil.wait_procs(left)
        finally:
            _adopt(orphans=False)


def _adopt(*, orphans: bool) -> bool:
    """Whether this process now adopts, or adopts no longer, those of its descendants that lose their parents."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0) == 0)
