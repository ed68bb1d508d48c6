"""Folds that a user wrote: read from the splits file, and checked against the volumes that exist."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from stages.common.errors import DataError, ParamsError
from stages.common.imaging.volumes import Fold, parse_splits, read_json
from stages.common.params import nearest

GENERATED = {"folds": "generated"}


def read_splits_file(
    file: Path, ids: Iterable[str], num_folds: int, held_out: Collection[str] = ()
) -> tuple[Fold, ...] | None:
    """The folds in `file`, checked; None if it asks for folds drawn by seed.

    `ids` are the volumes to put into folds, `held_out` those that must be in none.
    Raises DataError naming the fold and the volumes that are wrong, ParamsError when their number is not `num_folds`.
    """
    data = read_json(file)
    if data == GENERATED:
        return None
    folds = parse_splits(data, file)
    if len(folds) != num_folds:
        raise ParamsError(
            f"the splits file holds {len(folds)} folds, preprocess.num_folds asks for {num_folds}",
            remedy=f"set preprocess.num_folds to {len(folds)} (and training.folds to match), or correct the file",
            file=file,
        )
    known = set(ids)
    _refuse_held_out(folds, held_out, file)
    for index, fold in enumerate(folds):
        _check_fold(fold, f"fold {index}", known, file)
    _check_together(folds, known, file)
    return folds


def groups_astride(folds: Iterable[Fold], group_of: Mapping[str, str]) -> list[str]:
    """A warning for each fold that trains on volumes of a group which it validates: its score will flatter."""
    warnings = []
    for index, fold in enumerate(folds):
        shared = {group_of[name] for name in fold.train} & {group_of[name] for name in fold.val}
        if shared:
            warnings.append(f"fold {index} has these groups in both train and val: {_names(shared)}")
    return warnings


def _refuse_held_out(folds: Iterable[Fold], held_out: Collection[str], file: Path) -> None:
    named = {volume for fold in folds for volume in (*fold.train, *fold.val)} & set(held_out)
    if named:
        remedy = "take them out of every fold, or out of preprocess.test_groups"
        _refuse("the splits file names volumes that preprocess.test_groups holds out", remedy, file, named)


def _check_fold(fold: Fold, name: str, known: set[str], file: Path) -> None:
    for part, ids in (("train", fold.train), ("val", fold.val)):
        if not ids:
            _refuse(f"{name}: {part} is empty", "name at least one volume in each of train and val", file)
        if unknown := [volume for volume in ids if volume not in known]:
            hint = nearest(unknown[0], sorted(known))
            _refuse(f"{name}: {part} names volumes that do not exist; {hint}", "correct the ids", file, unknown)
        if repeated := [volume for volume, count in Counter(ids).items() if count > 1]:
            _refuse(f"{name}: {part} names a volume twice", "name it once", file, repeated)
    if both := set(fold.train) & set(fold.val):
        _refuse(f"{name}: volumes are in both train and val", "keep each in one of them", file, both)


def _check_together(folds: tuple[Fold, ...], known: set[str], file: Path) -> None:
    validated = Counter(volume for fold in folds for volume in fold.val)
    if repeated := [volume for volume, count in validated.items() if count > 1]:
        _refuse("volumes are validated in more than one fold", "keep each in the val of one fold", file, repeated)
    if unnamed := known - {volume for fold in folds for volume in (*fold.train, *fold.val)}:
        _refuse(
            "volumes are in no fold at all",
            "put each into train or val of a fold, or take it out of dataset.csv",
            file,
            unnamed,
        )


def _refuse(what: str, remedy: str, file: Path, ids: Iterable[str] = ()) -> None:
    raise DataError(what, remedy=remedy, file=file, value=_names(ids) or None)


def _names(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids))
