"""Locks that end with their holder: taken, waited for, asked about."""

import errno
import fcntl
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stages.common.lifetimes.locks import NoLocksError, holder_of, is_held, locked, note_holder, take

HOLD = """
import sys, time
from pathlib import Path
from stages.common.lifetimes.locks import take
stream = take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_the_kernel_frees_the_lock_of_a_killed_holder(tmp_path: Path) -> None:
    """Until then nobody else gets it, and what the holder wrote into it stays."""
    file = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        file.write_text("process 1")
        assert is_held(file)
        assert take(file) is None
        assert file.read_text() == "process 1"
        holder.kill()
    assert not is_held(file)
    stream = take(file)
    assert stream is not None
    note_holder(stream, "process 2")
    assert holder_of(file) == "process 2"
    stream.close()


def test_a_lock_that_is_a_link_is_not_looked_at(tmp_path: Path) -> None:
    """A stage writes into the folder of some."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        is_held(tmp_path / "lock")


def test_one_at_a_time_is_in_the_block(tmp_path: Path) -> None:
    """The folder is made; who comes second waits, and asking does not take the lock away."""
    file, order = tmp_path / "a" / "lock", []

    def second() -> None:
        with locked(file):
            order.append("second")

    assert not is_held(file)
    assert holder_of(file) == "unknown"
    with locked(file):
        thread = threading.Thread(target=second)
        thread.start()
        assert is_held(file)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert not is_held(file)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A lock that leads elsewhere would make, or hold, a file of somebody else."""
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic link"):
        take(tmp_path / "lock")
    with pytest.raises(OSError, match="symbolic link"), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "other").exists()


def test_a_disk_without_locks_is_an_error_unless_it_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOLCK is no answer about a holder."""

    def refuse(_stream: object, _how: int) -> None:
        raise OSError(errno.ENOSYS, "No locks available")  # as Lustre says it

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(NoLocksError, match="No locks available") as caught:
        take(tmp_path / "lock")
    assert caught.value.errno == errno.ENOLCK
    with pytest.raises(NoLocksError, match="No locks"), locked(tmp_path / "lock"):
        pass
    with locked(tmp_path / "lock", or_go_on=True):
        pass


def test_a_lock_whose_file_is_removed_meanwhile_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its former holder removes the folder at its end; a lock on a file without a name would keep nobody out."""
    file, real = tmp_path / "job" / "lock", fcntl.flock
    removals = [True]

    def remove_first(stream: int, how: int) -> None:
        if removals:
            removals.pop()
            shutil.rmtree(file.parent)
        real(stream, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    stream = take(file, make_folder=True)
    assert stream is not None
    assert take(file) is None
    stream.close()
