"""Which tests run for a fault, in which order, and what their end means for the whole."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.mutants.__main__ import KILLED, SURVIVED, TIMEOUT, UNSOUND, Outcome, in_turn, is_enough, shares, sound
from scripts.mutants.mutant import Mutant
from scripts.mutants.reach import SHORT_S, Reach, find_importers, find_reach, integration

NEAR, NAMED, LONG = (f"tests/unit/stages/ingest/test_{name}.py" for name in ("a", "x", "long"))
FAR, STRANGE = "tests/unit/stages/train/test_b.py", "tests/unit/test_c.py"
REACH = Reach(
    importers={"stages/ingest/x.py": {"stages/train/y.py", NEAR, NAMED, LONG}, "stages/train/y.py": {FAR}},
    seconds={NEAR: 1.0, NAMED: 1.0, LONG: 30.0, FAR: 1.0, STRANGE: 1.0},
)


def _mutant(line: int, path: str = "stages/ingest/x.py") -> Mutant:
    return Mutant(path=path, operator="AddNot", occurrence=0, line=line, lines=range(line, line + 1))


def test_likely_and_short_files_of_tests_run_first() -> None:
    """The one with the module's name, then the room's, then those of modules that import it; no others."""
    assert REACH.tests(_mutant(1), most_s=60.0) == [NAMED, NEAR, FAR, LONG]


def test_files_that_take_too_long_are_left_out() -> None:
    """A file that fits goes on after one that does not."""
    assert REACH.tests(_mutant(1), most_s=3.0) == [NAMED, NEAR, FAR]


def test_a_long_file_runs_when_it_is_the_only_one() -> None:
    """The limit leaves at least one."""
    reach = Reach(importers=REACH.importers, seconds={LONG: 30.0})
    assert reach.tests(_mutant(1), most_s=1.0) == [LONG]


def test_a_room_s_tests_see_a_module_that_none_of_them_imports() -> None:
    """They may reach it by way of others; a module without any has no tests, and no claim."""
    assert REACH.tests(_mutant(1, path="stages/train/z.py"), most_s=60.0) == [FAR]
    assert REACH.tests(_mutant(1, path="stages/predict/z.py"), most_s=60.0) == []


def test_reach_is_read_from_the_files(tmp_path: Path) -> None:
    """Modules and tests by their imports; a file of tests without a recorded time is a short one."""
    texts = {
        "stages/a.py": "X = 1\n",
        "tests/unit/stages/test_a.py": "from stages.a import X\n",
        "tests/unit/stages/made.py": "from stages.a import X\n",
        "tests/unit/stages/test_b.py": "import stages_a\n",
        "tests/seconds.json": '{"tests/unit/stages/test_a.py": 7, "tests/e2e/test_c.py": 9}',
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    reach = find_reach(tmp_path, list(texts))
    assert reach.importers == {"stages/a.py": {"tests/unit/stages/test_a.py", "tests/unit/stages/made.py"}}
    assert reach.seconds == {"tests/unit/stages/test_a.py": 7, "tests/unit/stages/test_b.py": SHORT_S}


def test_rooms_take_turns() -> None:
    """A run that is stopped has seen as many faults of one room as of the next."""
    one, two, other = _mutant(1), _mutant(2), _mutant(1, path="capillary/compute/y.py")
    assert in_turn([one, two, other]) == [one, other, two]


def test_importers_of_a_module_are_found(tmp_path: Path) -> None:
    """However it is imported, and over however many lines."""
    texts = {
        "stages/__init__.py": "",
        "stages/a.py": "X = 1\n",
        "stages/b.py": "from stages.a import X\n",
        "stages/c.py": "def f():\n    from stages import (\n        a,\n        d,\n    )\n",
        "stages/d.py": "import stages_a\n",
    }
    (tmp_path / "stages").mkdir()
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    importers = find_importers(tmp_path, texts)
    assert importers["stages/a.py"] == {"stages/b.py", "stages/c.py"}
    assert importers["stages/d.py"] == {"stages/c.py"}
    assert importers.get("stages/b.py") is None


@pytest.mark.parametrize(
    ("path", "tests"),
    [
        ("stages/train/loop/step.py", ["tests/integration/train"]),
        ("capillary/cli.py", ["tests/integration/launcher", "tests/integration/test_preflight_command.py"]),
    ],
)
def test_each_room_has_its_integration_tests(path: str, tests: list[str]) -> None:
    """The nearest entry counts."""
    assert integration(_mutant(1, path=path)) == tests


def _outcomes(path: str, **numbers: int) -> list[Outcome]:
    return [
        Outcome(mutant=_mutant(1, path=path), status=status)
        for status, number in numbers.items()
        for _ in range(number)
    ]


@pytest.mark.parametrize(
    ("good", "small", "enough"),
    [
        ({KILLED: 90, TIMEOUT: 2, SURVIVED: 4}, {KILLED: 4}, True),
        ({KILLED: 96}, {KILLED: 3, SURVIVED: 1}, False),
        ({KILLED: 87, SURVIVED: 9}, {KILLED: 4}, False),
    ],
)
def test_the_whole_and_each_room_must_reach_their_shares(
    good: dict[str, int], small: dict[str, int], enough: bool
) -> None:
    """92 % of all, 80 % of each room; a run that never ends counts as found."""
    outcomes = [*_outcomes("stages/ingest/x.py", **good), *_outcomes("capillary/compute/y.py", **small)]
    counts = shares(outcomes)
    assert counts[""] == (100, good[KILLED] + good.get(TIMEOUT, 0) + small[KILLED])
    assert is_enough(counts) is enough


@pytest.mark.parametrize(
    ("code", "unsound"), [(0, set()), (1, {"tests/a::x[1 - 2]"}), (4, {"tests/a::x[1 - 2]", "tests/a::y"})]
)
def test_a_test_that_fails_without_a_fault_has_found_none(code: int, unsound: set[str]) -> None:
    """A killed fault counts as found only if its test passes on the right code; nothing counts if they cannot run."""
    output = "FAILED tests/a::x[1 - 2] - AssertionError: 1 - 2" if code == 1 else ""
    copy = SimpleNamespace(pytest=lambda _tests, *, limit_s: (code, output))
    outcomes = [
        *(Outcome(mutant=_mutant(1), status=KILLED, by=by) for by in ("tests/a::x[1 - 2]", "tests/a::y")),
        Outcome(mutant=_mutant(1), status=SURVIVED),
    ]
    checked = sound(outcomes, copy)  # type: ignore[arg-type]
    assert {each.by for each in checked if each.status == UNSOUND} == unsound
    assert sum(each.found for each in checked) == 2 - len(unsound)
