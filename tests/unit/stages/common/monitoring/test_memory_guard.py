"""The memory guard on real processes that really take memory."""

import subprocess
import sys
import threading

import pytest

from stages.common.errors import CapillaryError, ExitCode
from stages.common.monitoring.memory_guard import MemoryGuard, guarding

# takes 10 MB every 10 ms, here or in a child, until the guard speaks or 600 MB are taken
PROGRAM = """
import subprocess, sys, time
from stages.common.monitoring.memory_guard import guarding
from stages.common.monitoring.process_memory import ProcessTree

GROW = "import time\\nx = []\\nwhile len(x) < 60: x.append(bytearray(10**7)); time.sleep(0.01)\\ntime.sleep(9)"
tree, limit_gb = ProcessTree(), ProcessTree().rss_gb() + 0.2
with guarding(limit_gb) as guard:
    child = subprocess.Popen([sys.executable, "-c", GROW]) if sys.argv[1] == "child" else None
    blocks, crossed = [], None
    while guard.crossing is None and (crossed is None or time.monotonic() - crossed < 5):
        if child is None and len(blocks) < 60:
            blocks.append(bytearray(10**7))
        time.sleep(0.01)
        if crossed is None and tree.rss_gb() > limit_gb:
            crossed = time.monotonic()
    seconds = time.monotonic() - crossed if crossed else 0.0
print("figures", seconds, guard.crossing.measured_gb, guard.crossing.limit_gb)
if child is not None:
    child.kill()
"""


@pytest.mark.parametrize("who", ["itself", "child"])
def test_a_crossing_is_noticed_within_a_second_with_its_numbers(who: str) -> None:
    """Memory of this process or of one that it started, really taken."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, who], capture_output=True, text=True, check=True, timeout=60)
    said, figures = sorted(done.stdout.splitlines(), key=lambda line: line.startswith("figures"))
    seconds, measured_gb, limit_gb = map(float, figures.split()[1:])
    assert seconds <= 1
    assert limit_gb < measured_gb < limit_gb + 0.45
    assert f"memory guard: {measured_gb:.2f} GB resident, the limit is {limit_gb:g} GB" in said


def test_no_limit_no_watch() -> None:
    """Nothing runs beside the work."""
    before = threading.active_count()
    with guarding(None) as guard:
        assert threading.active_count() == before
        guard.raise_if_crossed("anywhere")


def test_the_watch_ends_with_its_block() -> None:
    """No thread is left, and nothing was crossed."""
    before = threading.active_count()
    with guarding(10_000, poll_s=0.01) as guard:
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert guard.crossing is None


def test_the_error_has_its_own_code_the_numbers_and_a_remedy() -> None:
    """What a user reads tells which knob to turn."""
    with guarding(0.001, poll_s=0.01) as guard:
        while guard.crossing is None:
            threading.Event().wait(0.01)
    with pytest.raises(CapillaryError) as caught:
        guard.raise_if_crossed("after volume a")
    assert caught.value.code is ExitCode.MEMORY
    assert "after volume a" in caught.value.what
    assert "the limit is 0.001 GB" in str(caught.value.value)
    for name in ("CAPILLARY_MEMORY_ABORT_GB", "CAPILLARY_MICRO_BATCH", "CAPILLARY_WORKERS"):
        assert name in caught.value.remedy
    assert MemoryGuard().crossing is None
