"""Folds that a user wrote: taken as they are, or refused with names."""

import json
from pathlib import Path

import pytest

from capillary.params_rules import check_rules
from stages.common.errors import CapillaryError, DataError, ParamsError
from stages.common.splits import Fold, read_splits_file
from stages.preprocess.folds import groups_astride
from tests.support.parts import REPOSITORY

IDS = ("a", "b", "c", "d")
GOOD = [{"train": ["a", "b", "c"], "val": ["d"]}, {"train": ["d"], "val": ["b", "a"]}]


def write(folder: Path, content: object) -> Path:
    """`content` as a splits file."""
    file = folder / "mine.json"
    file.write_text(json.dumps(content))
    return file


def test_the_default_file_asks_for_drawn_folds() -> None:
    """configs/splits/generated.json is what params.yaml names."""
    assert read_splits_file(REPOSITORY / "configs" / "splits" / "generated.json", IDS, 3) is None


@pytest.mark.parametrize("content", [GOOD, {"folds": GOOD}])
def test_folds_are_taken_as_they_are(tmp_path: Path, content: object) -> None:
    """A volume may train always (c is never validated) and may sit out a fold (c again, in fold 1)."""
    assert read_splits_file(write(tmp_path, content), IDS, 2) == (
        Fold(train=("a", "b", "c"), val=("d",)),
        Fold(train=("d",), val=("a", "b")),
    )


def test_a_file_may_begin_with_the_mark_that_editors_write(tmp_path: Path) -> None:
    """That of UTF-8; the rules of params.yaml read it, too."""
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"folds": "generated"}), encoding="utf-8-sig")
    assert read_splits_file(file, IDS, 2) is None
    with pytest.raises(ParamsError, match=r"preprocess\.num_folds"):
        check_rules({"preprocess": {"num_folds": 1, "splits_file": "mine.json"}}, tmp_path, "params.yaml")


def test_json_nested_without_end_is_refused(tmp_path: Path) -> None:
    """By the file's name, as other damage."""
    file = tmp_path / "mine.json"
    file.write_text("[" * 100_000)
    with pytest.raises(DataError, match="are not JSON") as refused:
        read_splits_file(file, IDS, 2)
    assert refused.value.file == file


def test_one_fold_is_a_plain_hold_out(tmp_path: Path) -> None:
    """A single explicit fold is allowed: one training, one held-out part."""
    folds = read_splits_file(write(tmp_path, [{"train": ["a", "b"], "val": ["c", "d"]}]), IDS, 1)
    assert folds == (Fold(train=("a", "b"), val=("c", "d")),)


@pytest.mark.parametrize(
    ("folds", "kind", "says", "names"),
    [
        ([{"train": ["a", "b", "cc"], "val": ["d"]}, GOOD[1]], DataError, "fold 0: train names volumes", "cc"),
        ([GOOD[0], {"train": ["d", "a"], "val": ["a", "b"]}], DataError, "fold 1: volumes are in both", "a"),
        ([GOOD[0], {"train": ["a", "b"], "val": ["d", "c"]}], DataError, "validated in more than one", "d"),
        ([{"train": ["a", "b"], "val": ["d"]}, GOOD[1]], DataError, "in no fold at all", "c"),
        (
            [{"train": ["a", "b", "c", "a"], "val": ["d"]}, GOOD[1]],
            DataError,
            "fold 0: train names a volume twice",
            "a",
        ),
        ([GOOD[0], {"train": ["d"], "val": ["b", "a", "b"]}], DataError, "fold 1: val names a volume twice", "b"),
        ([GOOD[0], {"train": ["d"], "val": ["e", "f"]}], DataError, "fold 1: val names volumes", "e, f"),
        ([{"train": [], "val": ["d"]}, GOOD[1]], DataError, "fold 0: train is empty", "mine.json"),
        ([GOOD[0], {"train": ["d"], "val": []}], DataError, "fold 1: val is empty", "mine.json"),
        ([GOOD[0]], ParamsError, "holds 1 fold, preprocess.num_folds asks for 2", "num_folds"),
        ("generate", DataError, "not a list", "generated"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(
    tmp_path: Path, folds: object, kind: type[CapillaryError], says: str, names: str
) -> None:
    """Each error names the file, the fold and the volumes."""
    with pytest.raises(kind, match=says) as caught:
        read_splits_file(write(tmp_path, {"folds": folds}), IDS, 2)
    assert names in caught.value.report()
    assert "mine.json" in caught.value.report()


def test_a_mistyped_id_gets_a_suggestion(tmp_path: Path) -> None:
    """The nearest existing id is offered."""
    with pytest.raises(DataError, match="did you mean `mouse_1`"):
        read_splits_file(write(tmp_path, [{"train": ["mouse1"], "val": ["mouse_2"]}]), ["mouse_1", "mouse_2"], 1)


def test_a_group_on_both_sides_is_told() -> None:
    """An explicit split may do it, but not in silence."""
    folds = [Fold(train=("a", "b"), val=("c",)), Fold(train=("c",), val=("a", "b"))]
    assert groups_astride(folds, {"a": "g1", "b": "g2", "c": "g3"}) == []
    (first, second) = groups_astride(folds, {"a": "g1", "b": "g2", "c": "g2"})
    assert "fold 0" in first
    assert "g2" in first
    assert "g1" not in first
    assert "fold 1" in second
