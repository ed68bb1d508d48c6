"""The memory guard on real processes that really take memory."""

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from stages.common.errors import CapillaryError, ExitCode
from stages.common.monitoring import memory_guard
from stages.common.monitoring.memory_guard import POLL_S, Crossing, MemoryGuard, guarding
from stages.common.monitoring.process_memory import FAMILY_AGE_S, ProcessTree

# takes 10 MB every 10 ms, here or in a child, until the guard speaks or 600 MB are taken
PROGRAM = """
import subprocess, sys, time
from stages.common.monitoring.memory_guard import guarding
from stages.common.monitoring.process_memory import ProcessTree

GROW = "import time\\nx = []\\nwhile len(x) < 60: x.append(bytearray(10**7)); time.sleep(0.01)\\ntime.sleep(60)"
limit_gb = ProcessTree().rss_gb() + 0.2
with guarding(limit_gb) as guard:
    child = subprocess.Popen([sys.executable, "-c", GROW]) if sys.argv[1] == "child" else None
    blocks = []
    while guard.crossing is None:
        if child is None and len(blocks) < 60:
            blocks.append(bytearray(10**7))
        time.sleep(0.01)
print("figures", guard.crossing.measured_gb, guard.crossing.limit_gb)
if child is not None:
    child.kill()
"""


@pytest.mark.parametrize("who", ["itself", "child"])
def test_a_crossing_is_noticed_with_its_numbers(who: str) -> None:
    """Memory of this process or of one that it started, really taken."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, who], capture_output=True, text=True, check=True)
    said, figures = sorted(done.stdout.splitlines(), key=lambda line: line.startswith("figures"))
    measured_gb, limit_gb = map(float, figures.split()[1:])
    assert limit_gb < measured_gb < limit_gb + 0.45
    assert f"memory guard: {measured_gb:.2f} GB resident, the limit is {limit_gb:g} GB" in said


def test_the_guard_looks_several_times_a_second_and_speaks_at_the_first_look_over_the_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What makes it noticed within a second: the next look sees it, and so does the list of who is looked at."""
    looks, waits_s = iter([0.9, 1.0, 1.25, 9.9]), []
    monkeypatch.setattr(ProcessTree, "rss_gb", lambda _tree: next(looks))

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits_s.append(timeout)
            return super().is_set()

    monkeypatch.setattr(memory_guard, "threading", SimpleNamespace(Event=Event, Thread=threading.Thread))
    with guarding(1.0) as guard:
        while guard.crossing is None:
            threading.Event().wait(0.001)
    assert guard.crossing == Crossing(limit_gb=1.0, measured_gb=1.25)
    assert waits_s == [POLL_S] * 3
    assert POLL_S + FAMILY_AGE_S < 1
    assert capsys.readouterr().out.count("memory guard") == 1


def test_no_limit_no_watch() -> None:
    """Nothing runs in parallel with the work."""
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
