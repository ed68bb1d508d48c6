"""Which tests run for a fault, in which order, and what their end means for the whole."""

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.mutants.__main__ import KILLED, SURVIVED, TIMEOUT, Outcome, is_enough, shares
from scripts.mutants.mutant import Mutant
from scripts.mutants.reach import MOST_S, Reach, find_importers, integration

NEAR, FAR, SLOW = "tests/unit/stages/ingest/test_a.py", "tests/unit/stages/train/test_b.py", "tests/unit/test_c.py"
REACH = Reach(
    seconds={f"{NEAR}::one": 5.0, f"{NEAR}::two": 1.0, f"{FAR}::one": 0.1, f"{SLOW}::one": MOST_S},
    tests={"stages/ingest/x.py": {1: set(), 2: {f"{FAR}::one", f"{NEAR}::one"}, 3: {f"{SLOW}::one"}, 4: set()}},
)


def _mutant(line: int, path: str = "stages/ingest/x.py") -> Mutant:
    return Mutant(path=path, operator="AddNot", occurrence=0, line=line, lines=range(line, line + 1))


def test_tests_of_the_line_run_those_of_the_room_first() -> None:
    """Only tests that reach the line run; one of the same folder is the most likely to notice."""
    assert REACH.sharp(_mutant(2)) == [f"{NEAR}::one", f"{FAR}::one"]


def test_a_line_that_only_the_import_runs_is_seen_by_the_tests_of_its_module() -> None:
    """A constant is used by functions: whoever calls one may notice; what takes too long is left out."""
    assert REACH.sharp(_mutant(1)) == [f"{NEAR}::one", f"{FAR}::one"]


def test_a_slow_test_runs_when_it_is_the_only_one() -> None:
    """The limit leaves at least one test."""
    assert REACH.sharp(_mutant(3)) == [f"{SLOW}::one"]


def test_the_rest_of_the_files_follows() -> None:
    """Tests of the same files that do not reach the line themselves may see what a shared fixture did there."""
    assert REACH.rest(_mutant(2), [f"{NEAR}::one", f"{FAR}::one"]) == [f"{NEAR}::two"]


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


def test_a_constant_is_seen_by_the_tests_of_who_imports_it() -> None:
    """A module without functions has no tests of its own."""
    reach = replace(REACH, importers={"stages/ingest/y.py": {"stages/ingest/x.py"}})
    assert reach.sharp(_mutant(1, path="stages/ingest/y.py")) == [f"{NEAR}::one", f"{FAR}::one"]


def test_a_module_that_no_test_reaches_has_none() -> None:
    """No tests, no claim."""
    assert REACH.sharp(_mutant(1, path="stages/ingest/y.py")) == []


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
