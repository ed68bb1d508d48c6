"""Circumstances of a result: kept with it, found by its hashes alone, and compared in words."""

from dataclasses import replace
from pathlib import Path

import pytest

from capillary.compute import circumstances as module
from capillary.compute.circumstances import (
    Circumstances,
    differences,
    digests_of,
    installed_packages,
    keep,
    note_of,
    read_note,
    recall,
)

HERE = Circumstances(
    environment=("3.11.7", "x86_64"), packages={"torch": "2.13.0"}, cpu="EPYC", device="auto", threads=2, processes=1
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"cpu": "Xeon"}, ["cpu: Xeon then, EPYC now"]),
        ({"threads": 4, "processes": 2}, ["threads: 4 then, 2 now", "processes: 2 then, 1 now"]),
        ({"environment": ("3.12.0", "x86_64")}, ["environment: 3.12.0 x86_64 then, 3.11.7 x86_64 now"]),
        ({"packages": {}}, ["torch missing then, 2.13.0 now"]),
    ],
)
def test_what_differs_is_said_in_words(changes: dict[str, object], words: list[str]) -> None:
    """Each part of the circumstances that may change the last bits of a result."""
    assert differences(replace(HERE, **changes), HERE) == words  # type: ignore[arg-type]  # keys of Circumstances


def test_of_many_packages_some_are_named() -> None:
    """And the others counted."""
    many = replace(HERE, packages={f"p{number}": "1" for number in range(9)})
    assert differences(many, replace(HERE, packages={}))[-1] == "5 more packages"


def test_circumstances_belong_to_one_result(tmp_path: Path) -> None:
    """Other content, another stage or a damaged note: nothing is known."""
    (tmp_path / "models" / "inner").mkdir(parents=True)
    (tmp_path / "models" / "inner" / "a").write_text("a")
    (tmp_path / "curve.csv").write_text("1")
    outs = ["models", "curve.csv"]
    keep(tmp_path, "train@a/b-0", tmp_path, outs, HERE)
    digests = digests_of(tmp_path, outs)
    assert recall(tmp_path, "train@a/b-0", digests) == HERE
    assert recall(tmp_path, "train@c-0", digests) is None
    assert recall(tmp_path, "train@a/b-0", {**digests, "curve.csv": "0" * 32}) is None
    (note,) = (tmp_path / ".capillary" / "circumstances").iterdir()
    note.write_text('{"cpu": 1}')
    assert recall(tmp_path, "train@a/b-0", digests) is None


def test_what_another_machine_notes_is_checked() -> None:
    """It goes to a terminal: no control characters, nothing that fills it."""
    assert read_note(note_of(HERE)) == HERE
    changes: list[dict[str, object]] = [{"cpu": "\x1b[2J"}, {"cpu": "x" * 301}, {"threads": -1}, {"packages": {"a": 1}}]
    for change in changes:
        assert read_note(note_of(replace(HERE, **change))) is None  # type: ignore[arg-type]  # keys of Circumstances
    for content in (b"", b"[]", b"\xff", b"[" * 100_000):
        assert read_note(content) is None


def test_large_outs_leave_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack of gigabytes is not read once more."""
    (tmp_path / "stack").write_text("large")
    monkeypatch.setattr(module, "_MOST_BYTES", 4)
    keep(tmp_path, "preprocess", tmp_path, ["stack"], HERE)
    assert recall(tmp_path, "preprocess", digests_of(tmp_path, ["stack"])) is None


def test_packages_are_those_of_this_interpreter() -> None:
    """By name and version."""
    assert installed_packages()["pytest"] == pytest.__version__
