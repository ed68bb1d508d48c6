"""Where faults are put, and which of them a sample holds."""

from collections import Counter
from pathlib import Path

import pytest

from scripts.mutants.mutant import LEAST_PER_ROOM, Mutant, draw, find_mutants, mutants_of

SEED = 20261128


def _mutants(code: str) -> list[Mutant]:
    return [mutant for mutant in mutants_of("stages/x.py", code) if mutant.changes(code)]


@pytest.mark.parametrize(
    "code",
    [
        "def f(a: int | None, *, b: tuple[1, 2] | str) -> A | B: ...\n",
        "class A:\n    field: Annotated[float, Field(gt=0)] | None\n",
        "Flips = Literal[1, 2] | None\n",
        '__all__ = ["a", "b"]\n',
        "@dataclass(frozen=True, kw_only=True)\nclass A: ...\n",
        "class A(B, C): ...\n",
        "assert a > 0 and b\n",
        "if TYPE_CHECKING:\n    x = 1\n",
        'target = folder / "name"\n',
        "pairs = zip(a, strict=True)\n",
        "def f(*args, **kwargs):\n    return g(*args, **kwargs)\n",
        "PAUSE_S = 2.0\nLIMIT: int = 5\n",
    ],
)
def test_what_no_test_has_to_see_stays(code: str) -> None:
    """Annotations, declarations and assertions get no fault: one there is found at the first import, or never."""
    assert _mutants(code) == []


def test_messages_stay() -> None:
    """An error can be left out, but its text and the texts that are printed keep their values."""
    code = 'if a:\n    raise Error(f"{b + 1} of {c}", 3)\nsay(f"{d - 1}")\n'
    assert {mutant.operator for mutant in _mutants(code)} == {"AddNot", "RemoveRaise", "RemoveCall"}


def test_defaults_and_bodies_get_faults() -> None:
    """An annotation does not hide the value behind it."""
    code = "def f(a: int = 3) -> int:\n    return a\n\nlimit: int = 5\nclass A:\n    SIZE = 4\n"
    assert {mutant.line for mutant in _mutants(code)} == {1, 4, 6}


def test_lines_are_those_of_the_statement_or_of_its_head() -> None:
    """A test reaches a fault when it runs a line of the statement; the body of an `if` is not part of the `if`."""
    code = "if (\n    a\n    and b\n):\n    f(\n        1,\n    )\n"
    lines = {mutant.operator: mutant.lines for mutant in _mutants(code)}
    assert lines["ReplaceAndWithOr"] == range(1, 5)
    assert lines["NumberReplacer"] == range(5, 8)


def test_rooms_are_folders(tmp_path: Path) -> None:
    """A room is a folder of capillary/ or stages/; the large ones hold rooms of their own; other files have none."""
    rooms = {
        "capillary/cli.py": "capillary",
        "capillary/report/write.py": "capillary/report",
        "stages/train/cell.py": "stages/train",
        "stages/train/losses/geometry/distance.py": "stages/train/losses",
    }
    files = [*rooms, "scripts/x.py", "stages/data.json"]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("x = -1\n")
    assert {mutant.path: mutant.room for mutant in find_mutants(tmp_path, files)} == rooms
    only = {mutant.path for mutant in find_mutants(tmp_path, files, "stages/train")}
    assert only == {"stages/train/cell.py", "stages/train/losses/geometry/distance.py"}


def _many(room: str, number: int) -> list[Mutant]:
    return [
        Mutant(path=f"{room}/x.py", operator=operator, occurrence=line, line=line, lines=range(line, line + 1))
        for line in range(1, number + 1)
        for operator in ("AddNot", "NumberReplacer")
    ]


MANY = [*_many("stages/evaluate", 300), *_many("stages/ingest", 100), *_many("capillary/compute", 8)]


def test_a_sample_has_each_room_by_its_size() -> None:
    """A room gets its share by lines that can have faults, and a small one LEAST_PER_ROOM; no line is drawn twice."""
    drawn = draw(MANY, 100, SEED, lambda _: True)
    rooms = Counter(mutant.room for mutant in drawn)
    assert rooms == {"stages/evaluate": 74, "stages/ingest": 25, "capillary/compute": LEAST_PER_ROOM}
    assert len({(mutant.path, mutant.line) for mutant in drawn}) == len(drawn)


def test_a_sample_depends_on_the_seed_alone() -> None:
    """The same seed draws the same faults, whatever order they come in; another one draws others."""
    drawn = draw(MANY, 100, SEED, lambda _: True)
    assert draw(MANY[::-1], 100, SEED, lambda _: True) == drawn
    assert draw(MANY, 100, SEED + 1, lambda _: True) != drawn


def test_a_change_in_one_room_does_not_redraw_another() -> None:
    """Without a room, what is drawn from the others is the start of what was drawn before."""
    before = [each for each in draw(MANY, 100, SEED, lambda _: True) if each.room == "stages/ingest"]
    after = draw(_many("stages/ingest", 100), 10, SEED, lambda _: True)
    assert after == before[: len(after)]


def test_a_sample_holds_true_faults_alone() -> None:
    """Where the first fault of a line is none, the line's next one takes its place."""
    drawn = draw(MANY, 100, SEED, lambda each: each.operator == "AddNot")
    assert {mutant.operator for mutant in drawn} == {"AddNot"}
    assert len(drawn) == len(draw(MANY, 100, SEED, lambda _: True))
