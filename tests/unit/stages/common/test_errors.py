"""Errors that a user can act on."""

import errno
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from stages.common.errors import (
    DataError,
    ExitCode,
    ParamsError,
    ServiceError,
    find_foreseen,
    machine_error,
    path_error,
)


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_the_machine_s_fault_names_the_file_its_own_words_and_a_remedy(number: int) -> None:
    """A full disk and a missing permission are distinguished, and so are their remedies."""
    error = machine_error(OSError(number, "in its own words", "data/raw/a.tif"))
    assert error is not None
    assert (error.file, error.value) == ("data/raw/a.tif", "in its own words")
    assert ("full" in error.what) is (number == errno.ENOSPC)
    assert ("free space" in error.remedy) is (number == errno.ENOSPC)
    assert ("write access" in error.remedy) is (number == errno.EACCES)


def test_a_missing_file_is_not_the_machine_s_fault() -> None:
    """ENOENT is somebody else's to explain."""
    assert machine_error(FileNotFoundError(errno.ENOENT, "no such file", "x")) is None
    assert machine_error(OSError("without a number")) is None


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


def test_a_foreseen_failure_is_found_behind_an_error_that_came_up_while_it_was_handled() -> None:
    """Without `from`: the first one in the chain that was foreseen counts, from the last error on."""
    try:
        try:
            raise DataError("the volume is gone", remedy="bring it back")
        except DataError:
            raise KeyError("a defect in handling it")  # noqa: B904 - what is tested
    except KeyError as defect:
        found = find_foreseen(defect)
    assert isinstance(found, DataError)
    assert find_foreseen(None) is None
    assert find_foreseen(KeyError("a defect")) is None


def test_a_disk_without_locks_is_the_machines() -> None:
    """As Lustre is on many clusters; not a traceback that ends in a function which is not implemented."""
    found = find_foreseen(OSError(errno.ENOLCK, "Function not implemented", "/scratch/state/lock"))
    assert found is not None
    assert (found.code, found.file) == (ExitCode.MACHINE, "/scratch/state/lock")
    assert "flock" in found.remedy


def test_too_little_memory_is_the_machines_with_the_numbers_that_are_known() -> None:
    """numpy says how much it wanted; a bare MemoryError says nothing."""
    found = find_foreseen(MemoryError("Unable to allocate 60 GiB"))
    assert found is not None
    assert (found.code, found.value) == (ExitCode.MACHINE, "Unable to allocate 60 GiB")
    bare = find_foreseen(MemoryError())
    assert bare is not None
    assert bare.value is None
    assert "CAPILLARY_WORKERS" in bare.remedy


@pytest.mark.parametrize(
    ("kind", "code"), [(ParamsError, ExitCode.PARAMS), (DataError, ExitCode.DATA), (ServiceError, ExitCode.SERVICE)]
)
def test_each_kind_of_error_has_its_exit_code_and_keeps_what_it_is_told(
    kind: type[ParamsError] | type[DataError] | type[ServiceError], code: ExitCode
) -> None:
    """Scripts branch on the code; people read the rest."""
    error = kind("what", remedy="remedy", file="file", value="value")
    assert error.code is code
    assert error.report() == "error: what\n  file:   file\n  value:  value\n  remedy: remedy"
    assert kind("what", remedy="remedy").report() == "error: what\n  remedy: remedy"


def test_exit_codes_are_those_that_users_know() -> None:
    """docs/exit-codes.md lists them; a number never changes its meaning."""
    assert {code.name: code.value for code in ExitCode} == {
        "UNEXPECTED": 1,
        "USAGE": 2,
        "PARAMS": 3,
        "DATA": 4,
        "UNDECLARED": 5,
        "MACHINE": 6,
        "SERVICE": 7,
        "MEMORY": 8,
        "PREFLIGHT": 9,
        "CELLS_FAILED": 10,  # and STACKS_FAILED
        "DIFFERS": 11,
        "RANK_LOST": 12,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }


@pytest.mark.parametrize(
    ("name", "what"), [("n" * 300, "too long"), ("file/below", "a file"), ("loop/below", "a link")]
)
def test_a_path_that_nothing_can_have_is_the_user_s_to_correct(tmp_path: Path, name: str, what: str) -> None:
    """Whatever command it was typed for."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Errno") as caught:
        (tmp_path / name).mkdir()
    error = path_error(caught.value)
    assert error is not None
    assert error.code == ExitCode.USAGE
    assert what in error.what
    assert error.file == str(tmp_path / name)


def test_other_faults_are_no_path_s() -> None:
    """A file that is missing is most often a defect here, and so is an error without a file."""
    assert path_error(FileNotFoundError(errno.ENOENT, "text", "x")) is None
    assert path_error(OSError(errno.ENOTDIR, "text")) is None
    assert path_error(ValueError("x")) is None


@pytest.mark.parametrize(
    ("statement", "code", "text"),
    [
        ("raise CapillaryError('w', remedy='r', code=ExitCode.SERVICE)", 7, "remedy: r"),
        ("raise ValueError('behind') from CapillaryError('w', remedy='r', code=ExitCode.DATA)", 4, "error: w"),
        ("pass", 0, ""),
        ("raise KeyboardInterrupt", 130, ""),
        ("raise MemoryError('Unable to allocate 60 GiB')", 6, "Unable to allocate 60 GiB"),
        ("open('n' * 300)", 2, "choose a shorter name"),
        ("raise ValueError('defect')", 1, "Traceback"),
    ],
)
def test_a_program_ends_with_the_code_of_its_failure(statement: str, code: int, text: str) -> None:
    """Foreseen failures end with a report, defects keep their traceback."""
    program = f"""
from stages.common.errors import CapillaryError, ExitCode
from stages.common.program.ending import run_main
def main():
    {statement}
run_main(main)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert text in done.stderr
    assert ("Traceback" in done.stderr) is (text == "Traceback")
