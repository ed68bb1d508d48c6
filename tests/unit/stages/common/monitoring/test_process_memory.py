"""Resident memory of real process trees, compared with psutil's account."""

import subprocess
import sys
import time

import psutil
import pytest

from stages.common.monitoring.process_memory import ProcessTree

GRANDCHILD = "import sys, time; block = bytearray(120_000_000); print('ready', flush=True); sys.stdin.read()"
CHILD = f"""
import subprocess, sys, threading
def start():  # a child belongs to the thread that starts it
    process = subprocess.Popen([sys.executable, "-c", {GRANDCHILD!r}], stdin=sys.stdin)
    process.wait()
thread = threading.Thread(target=start)
thread.start()
thread.join()
"""


def test_a_process_tree_is_counted_whole_and_gone_when_it_ended() -> None:
    """A grandchild that a thread started is in the sum, which is what psutil adds up."""
    process = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    tree = ProcessTree(process.pid)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) == 2
    assert tree.rss_bytes() == pytest.approx(sum(each.memory_info().rss for each in family), rel=0.02)
    assert tree.rss_gb() > 0.12
    process.stdin.close()
    process.stdout.close()
    process.wait()
    assert tree.rss_bytes() == 0


def test_a_process_that_was_born_later_is_noticed() -> None:
    """Loader workers start after the watch does."""
    tree = ProcessTree()
    before = tree.rss_bytes()
    with subprocess.Popen([sys.executable, "-c", GRANDCHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as late:
        assert late.stdout is not None
        late.stdout.readline()
        time.sleep(0.6)
        assert tree.rss_bytes() > before + 100_000_000


def test_a_look_is_cheap() -> None:
    """Several a second must not be felt: far under a millisecond each."""
    tree = ProcessTree()
    tree.rss_bytes()
    started = time.perf_counter()
    for _ in range(100):
        tree.rss_bytes()
    assert (time.perf_counter() - started) / 100 < 1e-3
