import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.common.errors import CapillaryError
from stages.train.resuming.lock import cell_lock

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


def test_a_second_process_is_refused_with_the_holders_pid(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    """Two processes never train one cell."""
    with pytest.raises(CapillaryError) as refusal, cell_lock(tmp_path, patience_s=0.3):
        pass
    assert f"process {holder.pid}" in refusal.value.report()


def test_a_killed_holder_frees_the_cell_at_once(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    """The kernel frees the lock; no stale file blocks the next run."""
    holder.kill()
    started = time.monotonic()
    with cell_lock(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert time.monotonic() - started < 5


def test_waiting_ends_when_the_holder_does(
    tmp_path: Path, holder: "subprocess.Popen[str]", capsys: pytest.CaptureFixture[str]
) -> None:
    """A dying orphan is waited for, and the user is told whom."""
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {holder.pid}"])
    with cell_lock(tmp_path):
        pass
    assert f"waiting for process {holder.pid}" in capsys.readouterr().out
