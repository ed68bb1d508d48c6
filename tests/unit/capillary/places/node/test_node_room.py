"""A node that says that its own disk is full, and no other's."""

import errno
import os
from pathlib import Path

import pytest

from capillary.executors.process import execute as process
from capillary.lifetimes.stop import Stop
from capillary.places.node import work
from capillary.places.node.room import is_full, lacked_space
from capillary.places.node.work import run_job
from capillary.places.outcome import read_ended
from tests.unit.capillary.places.conftest import Write


@pytest.mark.parametrize(
    ("words", "code", "shared_full", "told"),
    [
        ("value: No space left on device", 6, False, True),
        ("RuntimeError: write(): Disk quota exceeded", 1, False, True),
        ("value: No space left on device", 6, True, False),
        ("value: No space left on device", 7, False, False),
        ("value: Permission denied", 6, False, False),
    ],
)
def test_a_node_whose_own_disk_is_full_is_named(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: str,
    code: int,
    shared_full: bool,
    told: bool,
) -> None:
    """Another one may have space, unless the disk that all share is full, or the fault is another."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = write()
    (folder / "log").write_text("a former attempt: No space left on device\n")
    monkeypatch.setattr(work, "is_full", lambda place: shared_full and place == folder)

    def fail(*_: object) -> int:
        with (folder / "log").open("a") as log:
            log.write(words)
        return code

    monkeypatch.setattr(process, "execute", fail)
    assert run_job(folder, Stop()) == code
    ended = read_ended(folder)
    assert ended is not None
    assert ended.full == (str(tmp_path) if told else "")


def test_a_disk_that_takes_nothing_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked by writing: quotas are in no count of free blocks. A folder that is missing is another fault."""
    assert not is_full(tmp_path)
    assert not is_full(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []
    for number in (errno.ENOSPC, errno.EDQUOT):
        monkeypatch.setattr(os, "posix_fallocate", lambda *_, number=number: _raise(number))
        assert is_full(tmp_path)
        assert lacked_space(6, tmp_path, tmp_path / "log", 0)
        assert not lacked_space(4, tmp_path, tmp_path / "log", 0)


def _raise(number: int) -> None:
    raise OSError(number, os.strerror(number))
