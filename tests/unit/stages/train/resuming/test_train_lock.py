import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.common.errors import CapillaryError, ExitCode
from stages.train.resuming import lock
from stages.train.resuming.lock import PATIENCE_S, cell_lock

HOLD = """
import sys, time
from pathlib import Path
from stages.train.resuming.lock import cell_lock
with cell_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """Another process that holds the cell."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


class _Clock:
    """Time that passes only in pauses; `at_pause` is called in each, and `pauses_s` lists them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at_pause: Callable[[], object] = lambda: None) -> None:
        self.pauses_s: list[float] = []
        self._at_pause = at_pause
        monkeypatch.setattr(lock, "time", SimpleNamespace(monotonic=lambda: sum(self.pauses_s), sleep=self._pause))

    def _pause(self, seconds: float) -> None:
        self.pauses_s.append(seconds)
        self._at_pause()


def test_a_second_process_is_refused_with_the_holders_pid_once_its_patience_is_at_an_end(
    tmp_path: Path, holder: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two processes never train one cell. The wait is announced once, and is as long as it should be."""
    clock = _Clock(monkeypatch)
    with pytest.raises(CapillaryError) as refusal, cell_lock(tmp_path):
        pass
    assert refusal.value.code is ExitCode.MACHINE
    assert f"process {holder.pid}" in str(refusal.value.value)
    assert str(holder.pid) in refusal.value.remedy
    assert PATIENCE_S <= sum(clock.pauses_s) <= PATIENCE_S + 1
    assert max(clock.pauses_s) <= 1
    assert capsys.readouterr().out.count(f"waiting for process {holder.pid}") == 1


def test_a_killed_holder_frees_the_cell_at_once(
    tmp_path: Path, holder: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kernel frees the lock; no stale file blocks the next run, which waits for nothing."""
    holder.kill()
    holder.wait()
    clock = _Clock(monkeypatch)
    with cell_lock(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert clock.pauses_s == []
    assert capsys.readouterr().out == ""


def test_waiting_ends_when_the_holder_does(
    tmp_path: Path, holder: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dying orphan is waited for, and the user is told whom."""

    def end() -> None:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()

    clock = _Clock(monkeypatch, at_pause=end)
    with cell_lock(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert len(clock.pauses_s) == 1
    assert f"waiting for process {holder.pid}" in capsys.readouterr().out


def test_the_cell_is_free_after_the_block_and_its_folder_is_made(tmp_path: Path) -> None:
    """A training that ended, well or not, blocks nobody."""
    folder = tmp_path / "state" / "train@dice_ce-0"
    with pytest.raises(OSError, match="full"), cell_lock(folder, patience_s=0):
        raise OSError("full")
    with cell_lock(folder, patience_s=0):
        assert (folder / "lock").exists()
    with cell_lock(folder, patience_s=0):
        pass


def test_a_holder_that_has_not_written_its_number_is_called_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between locking and writing; the message has no gap."""
    _Clock(monkeypatch)
    with cell_lock(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(CapillaryError) as refusal, cell_lock(tmp_path, patience_s=0.1):
            pass
    assert "process unknown" in refusal.value.report()
