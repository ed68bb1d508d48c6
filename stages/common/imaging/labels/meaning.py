"""What the values of a label file mean: vessel, background, or a voxel that nobody labelled."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.atomic import atomic_write
from stages.common.errors import DataError
from stages.common.imaging.labels.rule import BINARY, LabelMeaning, LabelRule, exact_number, number_text, parse_rule
from stages.common.imaging.stacks import binarise
from stages.common.text import json_value

LABELS = "labels.json"

_REPEAT = "run `dvc repro ingest` (or `dvc pull` if it ran elsewhere), do not edit this folder by hand"


@dataclass(frozen=True, kw_only=True)
class Label:
    """`vessel` {0, 1}, zyx, 0 where nobody labelled; `labelled` is None if every voxel is."""

    vessel: NDArray[np.uint8]
    labelled: NDArray[np.bool_] | None

    @property
    def labelled_share(self) -> float:
        """Share of the voxels that somebody labelled."""
        return 1.0 if self.labelled is None else np.count_nonzero(self.labelled) / self.labelled.size

    @property
    def foreground_share(self) -> float:
        """Share of vessel among the labelled voxels."""
        labelled = self.vessel.size if self.labelled is None else np.count_nonzero(self.labelled)
        return float(np.count_nonzero(self.vessel)) / labelled


def write_meaning(folder: Path, meaning: LabelMeaning) -> None:
    """Write `folder`/labels.json: what the values of the labels next to it mean."""
    content = {"label": meaning.rule.as_json(), "ignore_value": meaning.ignore_value}
    with atomic_write(folder / LABELS) as stream:
        stream.write(json.dumps(content, indent=2).encode() + b"\n")


def read_meaning(folder: Path) -> LabelMeaning:
    """What `folder`/labels.json says; binary labels where an older version wrote the folder, which had no other.

    Raises DataError when it cannot be read.
    """
    file = folder / LABELS
    if not file.exists():
        return BINARY
    try:
        content = json_value(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or {"label", "ignore_value"} - content.keys():
            raise ValueError("it needs `label` and `ignore_value`")
        ignored = content["ignore_value"]
        return LabelMeaning(
            rule=parse_rule(content["label"]), ignore_value=None if ignored is None else exact_number(ignored)
        )
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the file with the meaning of the labels cannot be read: {error}", remedy=_REPEAT, file=file
        ) from error


def interpret(label: NDArray[Any], meaning: LabelMeaning) -> Label:
    """`label` (numbers, zyx) as vessel, background and unlabelled.

    Raises DataError when a binary label does not hold two values, or no voxel is labelled.
    """
    label = as_numbers(label)
    ignored = ignored_voxels(label, meaning)
    if ignored is None:
        return Label(vessel=_vessel(label, meaning.rule), labelled=None)
    labelled = ~ignored
    vessel = np.zeros(label.shape, np.uint8)
    vessel[labelled] = _vessel(label[labelled], meaning.rule)
    return Label(vessel=vessel, labelled=labelled)


def as_numbers(label: NDArray[Any]) -> NDArray[Any]:
    """`label` with 0 and 1 for truth values: NumPy does not compare those with every number."""
    return label.view(np.uint8) if label.dtype == np.bool_ else label


def ignored_voxels(label: NDArray[Any], meaning: LabelMeaning) -> NDArray[np.bool_] | None:
    """Where nobody labelled; None if there is no such voxel. Raises DataError if there is no other."""
    if meaning.ignore_value is None:
        return None
    ignored: NDArray[np.bool_] = label == meaning.ignore_value
    if ignored.all():
        raise DataError(
            f"no voxel is labelled: all are {number_text(meaning.ignore_value)}, the value of ingest.ignore_value",
            remedy="label a part of the stack, leave it out, or correct ingest.ignore_value",
        )
    return ignored if ignored.any() else None


def _vessel(values: NDArray[Any], rule: LabelRule) -> NDArray[np.uint8]:
    if rule.kind == "binary":
        return binarise(values)
    vessel: NDArray[np.bool_] = np.zeros(values.shape, np.bool_)
    if rule.kind == "foreground":
        vessel = values != 0
    elif rule.kind == "at_least":
        vessel = values >= rule.values[0]
    for value in rule.values if rule.kind == "values" else ():
        vessel |= values == value
    return vessel.view(np.uint8)
