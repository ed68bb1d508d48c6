"""Errors that a user can act on."""

import errno
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from stages.common.errors import DataError, ExitCode, find_foreseen, machine_error


def test_a_report_names_what_file_value_and_remedy_on_one_screen() -> None:
    """Four labelled lines, in the order in which a person reads them."""
    error = DataError("the label has three values", file="labels/a.tif", value="{0, 1, 2}", remedy="write two values")
    assert error.report().splitlines() == [
        "error: the label has three values",
        "  file:   labels/a.tif",
        "  value:  {0, 1, 2}",
        "  remedy: write two values",
    ]


def test_an_error_crosses_processes_whole() -> None:
    """What a worker raises arrives with its kind, code, file and value."""
    error = DataError("bad", file=Path("x"), value=3, remedy="mend")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is DataError
    assert (copy.what, copy.file, copy.value, copy.remedy, copy.code) == ("bad", Path("x"), 3, "mend", ExitCode.DATA)
    assert str(copy) == "bad"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EPERM, errno.EFBIG])
def test_the_machine_s_faults_are_told_in_plain_words(number: int) -> None:
    """A full disk, missing permission and their kin have a remedy and the exit code of the machine."""
    error = machine_error(OSError(number, "text", "data/raw/a.tif"))
    assert error is not None
    assert error.code == ExitCode.MACHINE
    assert "data/raw/a.tif" in error.report()


def test_a_missing_file_is_not_the_machine_s_fault() -> None:
    """ENOENT is somebody else's to explain."""
    assert machine_error(FileNotFoundError(errno.ENOENT, "no such file", "x")) is None


def test_a_foreseen_cause_is_found_behind_what_it_led_to() -> None:
    """A library that wraps a full disk in its own error does not hide it."""
    try:
        try:
            raise OSError(errno.ENOSPC, "no space", "x.npy")
        except OSError as cause:
            raise RuntimeError("could not save") from cause
    except RuntimeError as wrapped:
        found = find_foreseen(wrapped)
    assert found is not None
    assert found.code == ExitCode.MACHINE


@pytest.mark.parametrize(
    ("statement", "code", "text"),
    [
        ("raise CapillaryError('w', remedy='r', code=ExitCode.SERVICE)", 7, "remedy: r"),
        ("raise KeyboardInterrupt", 130, ""),
        ("raise MemoryError('Unable to allocate 60 GiB')", 6, "Unable to allocate 60 GiB"),
        ("raise ValueError('defect')", 1, "Traceback"),
    ],
)
def test_a_program_ends_with_the_code_of_its_failure(statement: str, code: int, text: str) -> None:
    """Foreseen failures end with a report, defects keep their traceback."""
    program = f"""
from stages.common.errors import CapillaryError, ExitCode, run_main
def main():
    {statement}
run_main(main)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert text in done.stderr
