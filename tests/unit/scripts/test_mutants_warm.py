"""A run is a fork that has the libraries and none of our own code."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.mutants import warm


def _endless() -> int:
    while True:
        time.sleep(1)


def _busy() -> int:
    while True:
        pass


def _is_killed() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def _raises() -> int:
    raise ValueError


@pytest.mark.parametrize(
    ("work", "code"), [(lambda: 0, 0), (lambda: 1, 1), (_raises, warm.BROKEN), (_endless, None), (_is_killed, -9)]
)
def test_a_run_ends_with_its_code_or_is_killed(tmp_path: Path, work: Callable[[], int], code: int | None) -> None:
    """Work that never ends is killed and has no code; what it raises does not get out of its process."""
    with (tmp_path / "output").open("wb") as output:
        # no time at all for what never ends: a short time might not be enough for the others
        limit_s = 60 if code is not None else 0
        assert warm.run(work, tmp_path, {}, output, limit_s=limit_s) == code


def test_work_that_is_busy_for_too_long_is_killed(tmp_path: Path) -> None:
    """By its CPU time: on a busy machine right code is slow, too."""
    with (tmp_path / "output").open("wb") as output:
        assert warm.run(_busy, tmp_path, {}, output, limit_s=1) is None


def _look() -> int:
    own = [name for name in sys.modules if name.partition(".")[0] in warm.OWN]
    os.write(1, f"{Path.cwd()} {os.environ['WORD']} {sys.path[0]} {own} {'pytest' in sys.modules}".encode())
    return 0


def test_a_run_stands_in_its_folder_and_imports_our_code_anew(tmp_path: Path) -> None:
    """It has the libraries, its own folder first on the path, its variables, and its output goes to the file."""
    output = tmp_path / "output"
    with output.open("wb") as stream:
        warm.run(_look, tmp_path, {"WORD": "x"}, stream, limit_s=60)
    assert output.read_text().splitlines() == [f"{tmp_path} x {tmp_path} [] True"]
    assert "WORD" not in os.environ
    assert "scripts.mutants.warm" in sys.modules


def test_libraries_are_imported_and_our_own_modules_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever form the import has; a name that is no module, or a module of ours, is passed over."""
    for name in ("lib_one", "lib_two"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "samples.py").write_text("raise AssertionError")
    module = tmp_path / "module.py"
    module.write_text("import lib_one\ndef f():\n    from lib_two import x\nimport samples\nimport no_such_thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("gc.freeze", lambda: None)
    for name in warm.ALONE:
        monkeypatch.setenv(name, warm.ALONE[name])
    monkeypatch.delitem(sys.modules, "samples", raising=False)
    warm.import_libraries([module])
    assert {"lib_one", "lib_two"} <= sys.modules.keys()
    assert "samples" not in sys.modules
