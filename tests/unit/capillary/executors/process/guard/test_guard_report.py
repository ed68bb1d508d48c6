import pickle
from pathlib import Path

import pytest

from capillary.executors.process.guard import Guard, Policy, UndeclaredAccess
from capillary.executors.process.guard.report import explain, report
from stages.common.errors import ExitCode


def test_a_refusal_crosses_to_another_process() -> None:
    """Worker processes send their exceptions by pickle; the guard's module is not importable where they arrive."""
    error = pickle.loads(pickle.dumps(UndeclaredAccess("toy may not read x")))
    assert type(error) is PermissionError
    assert str(error) == "toy may not read x"


def test_the_report_names_each_refusal_once_with_its_line_of_code(guard: Guard, places: dict[str, Path]) -> None:
    """The line is the stage's own, however deep in libraries the file was opened."""
    source = f"\n\ndef read(check):\n    check({str(places['root'] / 'data/other.txt')!r})\n"
    space: dict[str, object] = {}
    exec(compile(source, str(places["work"] / "stages/toy/work.py"), "exec"), space)
    for _ in range(2):
        with pytest.raises(UndeclaredAccess):
            space["read"](guard.check_read)  # type: ignore[operator]  # a function, made above
    assert guard.refused() == {"toy@a may not read data/other.txt": " (stages/toy/work.py:4)"}
    text = report(guard.policy.address, guard.refused())
    assert text.count("may not read data/other.txt (stages/toy/work.py:4)") == 1
    assert "stages.toy in dvc.yaml" in text


def test_the_first_line_that_asked_is_kept(guard: Guard, places: dict[str, Path]) -> None:
    """A library may try the same file again and again."""
    space: dict[str, object] = {}
    source = f"def read(check):\n    check({str(places['root'] / 'data/other.txt')!r})\n"
    for name in ("first", "second"):
        exec(compile(source, str(places["work"] / f"stages/toy/{name}.py"), "exec"), space)
        with pytest.raises(UndeclaredAccess):
            space["read"](guard.check_read)  # type: ignore[operator]  # a function, made above
    assert list(guard.refused().values()) == [" (stages/toy/first.py:2)"]


def test_refusals_of_all_processes_of_a_stage_are_kept(guard: Guard, policy: Policy) -> None:
    """Workers write the same file; none overwrites what another wrote."""
    worker = Guard(policy)
    for each, path in ((guard, "data/other.txt"), (worker, "stages/other.py"), (guard, "/tmp/else.csv")):
        with pytest.raises(UndeclaredAccess):
            each.check_read(path)
    names = ["data/other.txt", "stages/other.py", "/tmp/else.csv"]
    assert list(guard.refused()) == list(worker.refused()) == [f"toy@a may not read {name}" for name in names]


def test_the_report_fits_a_screen(guard: Guard) -> None:
    """The first five refusals, then what to do."""
    refused = {f"toy@a may not read {number}": f" (x.py:{number})" for number in range(6)}
    lines = report(guard.policy.address, refused).splitlines()
    assert lines[0].startswith("error: ")
    assert lines[1:6] == [f"  what:   toy@a may not read {number} (x.py:{number})" for number in range(5)]
    assert lines[6].startswith("  remedy: ")
    assert len(lines) == 7


def fail(guard: Guard, path: str) -> None:
    guard.check_read(path)


def test_a_failure_that_comes_from_a_refusal_ends_with_its_own_code(
    guard: Guard, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when the stage or a library made another error of it."""
    try:
        try:
            fail(guard, "data/other.txt")
        except OSError as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        with pytest.raises(SystemExit) as caught:
            explain(guard, error)
    assert caught.value.code == ExitCode.UNDECLARED
    assert "may not read data/other.txt" in capsys.readouterr().err


def test_only_what_the_failure_comes_from_is_reported(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    """What was refused before and did no harm is left out."""
    with pytest.raises(UndeclaredAccess):
        fail(guard, "/tmp/else.csv")
    with pytest.raises(UndeclaredAccess) as caught:
        fail(guard, "data/other.txt")
    with pytest.raises(SystemExit):
        explain(guard, caught.value)
    assert "else.csv" not in capsys.readouterr().err


def test_a_failure_of_another_kind_keeps_its_own_code(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    """A library tried a place and did without; the stage's own error is what the user must see."""
    with pytest.raises(UndeclaredAccess):
        fail(guard, "data/other.txt")
    explain(guard, SystemExit(4))
    err = capsys.readouterr().err
    assert err == "note: the stage was refused access earlier: toy@a may not read data/other.txt\n"


@pytest.mark.parametrize("error", [SystemExit(130), SystemExit(143), KeyboardInterrupt()])
def test_a_stage_that_was_asked_to_stop_tells_of_no_refusals(
    guard: Guard, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    """They did not stop it."""
    with pytest.raises(UndeclaredAccess):
        fail(guard, "data/other.txt")
    explain(guard, error)
    assert capsys.readouterr().err == ""


def test_few_refusals_on_the_way_are_mentioned(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    """A library may try a hundred places."""
    for number in range(6):
        with pytest.raises(UndeclaredAccess):
            fail(guard, f"/tmp/{number}")
    explain(guard, RuntimeError("the stage's own"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"note: the stage was refused access earlier: toy@a may not read /tmp/{number}" for number in range(5)
    ]
