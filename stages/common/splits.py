"""Who trains where: folds as a user writes them, or as preprocess leaves them, read and checked.

Nothing here needs NumPy: preflight makes the same checks on a machine without the packages of the stages.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.common.atomic import atomic_write
from stages.common.errors import CapillaryError, DataError, ParamsError
from stages.common.params import nearest
from stages.common.text import counted

SPLITS = "splits.json"  # in data/processed
GENERATED = {"folds": "generated"}
_FORM = 'write {"folds": [{"train": ["id", ...], "val": ["id", ...]}, ...]}, or {"folds": "generated"}'


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Ids of the volumes that one fold trains on and validates on; a volume may be in neither."""

    train: tuple[str, ...]
    val: tuple[str, ...]


def write_splits(folder: Path, folds: Iterable[Fold]) -> None:
    """Write `folder`/splits.json; a copy of it serves as `preprocess.splits_file`."""
    content = {"folds": [{"train": sorted(fold.train), "val": sorted(fold.val)} for fold in folds]}
    with atomic_write(folder / SPLITS) as stream:
        stream.write(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")


def read_splits(file: Path) -> tuple[Fold, ...]:
    """The folds in `file`. Raises DataError when it is missing, not JSON or not of that form."""
    return parse_splits(_read_json(file), file)


def read_splits_file(
    file: Path, ids: Collection[str] | None, num_folds: int, held_out: Collection[str] = (), *, may_drop: bool = False
) -> tuple[Fold, ...] | None:
    """The folds that a user wrote into `file`, checked; None if it asks for folds drawn by seed.

    `ids` are the volumes to put into folds, None where they are not known yet; `held_out` those that must be in none.
    Each of `ids` must be in a fold, unless some of them `may_drop` out before they get there.
    Raises DataError naming the fold and the volumes that are wrong, ParamsError when their number is not `num_folds`.
    """
    data = _read_json(file)
    if data == GENERATED:
        return None
    folds = parse_splits(data, file)
    if len(folds) != num_folds:
        raise ParamsError(
            f"the splits file holds {counted(len(folds), 'fold')}, preprocess.num_folds asks for {num_folds}",
            remedy=f"set preprocess.num_folds to {len(folds)} (and training.folds to match), or correct the file",
            file=file,
        )
    _refuse_held_out(folds, held_out, file)
    for index, fold in enumerate(folds):
        _check_fold(fold, f"fold {index}", ids, file)
    _check_together(folds, () if ids is None or may_drop else ids, file)
    return folds


def asks_for_drawn_folds(file: Path) -> bool:
    """Whether `file` leaves the folds to the seed; what is wrong with it is `read_splits_file`'s to say."""
    try:
        return _read_json(file) == GENERATED
    except CapillaryError:
        return False


def check_enough(members: int, groups: int, num_folds: int) -> None:
    """Raise ParamsError when `num_folds` cannot be drawn from so many volumes and groups."""
    if num_folds < 2:
        raise ParamsError(
            "a single fold cannot be drawn: it would validate on every volume and train on none",
            remedy="set preprocess.num_folds to 2 or more, or name a splits file of your own",
            value=f"preprocess.num_folds: {num_folds}",
        )
    if num_folds > groups:
        have = (
            counted(members, "volume")
            if groups == members
            else f"{counted(groups, 'group')} (of {counted(members, 'volume')})"
        )
        raise ParamsError(
            f"{counted(num_folds, 'fold')} cannot be drawn from {have}",
            remedy=f"set preprocess.num_folds to {groups} or less (and training.folds to match), or add volumes",
            value=f"preprocess.num_folds: {num_folds}",
        )


def parse_splits(data: object, file: Path) -> tuple[Fold, ...]:
    """`data` as folds, ids sorted; takes {"folds": [...]} and the bare list of folds that nnU-Net writes.

    Raises DataError naming the fold whose form is wrong.
    """
    folds = data.get("folds") if isinstance(data, dict) and set(data) == {"folds"} else data
    if not isinstance(folds, list) or not folds:
        raise DataError("the folds are not a list", remedy=_FORM, file=file, value=_brief(data))
    return tuple(_parse_fold(fold, index, file) for index, fold in enumerate(folds))


def _read_json(file: Path) -> object:
    """The JSON value in `file`, which editors may begin with a mark."""
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        remedy = "restore it, or name another in preprocess.splits_file"
        raise DataError("the file with the folds is missing", remedy=remedy, file=file) from error
    except OSError as error:
        remedy = "name a file that can be read in preprocess.splits_file"
        raise DataError(f"the folds cannot be read: {error.strerror}", remedy=remedy, file=file) from error
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError
        remedy = "correct the place named above"
        raise DataError(f"the folds are not JSON: {error}", remedy=remedy, file=file) from error


def _parse_fold(fold: object, index: int, file: Path) -> Fold:
    if not isinstance(fold, dict) or set(fold) != {"train", "val"}:
        raise DataError(f"fold {index} needs the keys train and val only", remedy=_FORM, file=file, value=_brief(fold))
    for part, ids in fold.items():
        if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
            raise DataError(f"fold {index}: {part} is not a list of ids", remedy=_FORM, file=file, value=_brief(ids))
    return Fold(train=tuple(sorted(fold["train"])), val=tuple(sorted(fold["val"])))


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:120]} ..."


def _refuse_held_out(folds: Iterable[Fold], held_out: Collection[str], file: Path) -> None:
    named = {volume for fold in folds for volume in (*fold.train, *fold.val)} & set(held_out)
    if named:
        remedy = "take them out of every fold, or out of preprocess.test_groups"
        _refuse("the splits file names volumes that preprocess.test_groups holds out", remedy, file, named)


def _check_fold(fold: Fold, name: str, known: Collection[str] | None, file: Path) -> None:
    for part, ids in (("train", fold.train), ("val", fold.val)):
        if not ids:
            _refuse(f"{name}: {part} is empty", "name at least one volume in each of train and val", file)
        if known is not None and (unknown := [volume for volume in ids if volume not in known]):
            hint = nearest(unknown[0], sorted(known))
            _refuse(f"{name}: {part} names volumes that do not exist; {hint}", "correct the ids", file, unknown)
        if repeated := [volume for volume, count in Counter(ids).items() if count > 1]:
            _refuse(f"{name}: {part} names a volume twice", "name it once", file, repeated)
    if both := set(fold.train) & set(fold.val):
        _refuse(f"{name}: volumes are in both train and val", "keep each in one of them", file, both)


def _check_together(folds: tuple[Fold, ...], required: Collection[str], file: Path) -> None:
    validated = Counter(volume for fold in folds for volume in fold.val)
    if repeated := [volume for volume, count in validated.items() if count > 1]:
        _refuse("volumes are validated in more than one fold", "keep each in the val of one fold", file, repeated)
    if unnamed := set(required) - {volume for fold in folds for volume in (*fold.train, *fold.val)}:
        _refuse(
            "volumes are in no fold at all",
            "put each into train or val of a fold, or take it out of dataset.csv",
            file,
            unnamed,
        )


def _refuse(what: str, remedy: str, file: Path, ids: Iterable[str] = ()) -> None:
    raise DataError(what, remedy=remedy, file=file, value=", ".join(sorted(ids)) or None)
