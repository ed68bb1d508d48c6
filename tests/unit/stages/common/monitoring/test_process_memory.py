"""Resident memory of real process trees, compared with psutil's account."""

import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from stages.common.monitoring import process_memory
from stages.common.monitoring.process_memory import FAMILY_AGE_S, ProcessTree

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


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test moves."""
    now = [0.0]
    monkeypatch.setattr(process_memory, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_without_lists_of_children_the_tree_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel may not tell a process's children, and other systems have no /proc: psutil knows both."""
    with subprocess.Popen([sys.executable, "-c", GRANDCHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        expected = ProcessTree().rss_bytes()
        assert expected > 120_000_000
        monkeypatch.setattr(process_memory, "_children_are_listed", lambda: False)
        assert ProcessTree().rss_bytes() == pytest.approx(expected, rel=0.05)
        child.kill()
    assert ProcessTree(child.pid).rss_bytes() == 0


def test_a_process_that_was_born_later_is_noticed(now_s: list[float]) -> None:
    """Loader workers start after the watch does."""
    tree = ProcessTree()
    before = tree.rss_bytes()
    with subprocess.Popen([sys.executable, "-c", GRANDCHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as late:
        assert late.stdout is not None
        late.stdout.readline()
        now_s[0] += FAMILY_AGE_S * 1.01
        assert tree.rss_bytes() > before + 100_000_000


def test_who_belongs_to_the_tree_is_not_asked_at_every_look(
    monkeypatch: pytest.MonkeyPatch, now_s: list[float]
) -> None:
    """Several looks a second must not be felt, and a process has dozens of threads whose children are to be read."""
    asked: list[int] = []
    monkeypatch.setattr(process_memory, "_family", lambda pid: asked.append(pid) or [pid])
    tree = ProcessTree()
    for _ in range(100):
        assert tree.rss_bytes() > 0
    assert asked == [os.getpid()]
    now_s[0] += FAMILY_AGE_S * 1.01
    tree.rss_bytes()
    assert len(asked) == 2


def test_a_gigabyte_is_a_billion_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in every other limit of the project."""
    monkeypatch.setattr(ProcessTree, "rss_bytes", lambda _tree: 4_500_000_000)
    assert ProcessTree().rss_gb() == 4.5
