"""Whether the settings agree with what a set's own file (nnU-Net's dataset.json) calls the values in its labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.dataset.nnunet import background_among, classes_among, ignored_among
from stages.common.errors import DataError
from stages.common.imaging.labels.rule import LabelMeaning

Named = Mapping[str, tuple[int, ...]]  # the name of a class → its values
_IGNORE, _LABEL = "ingest.ignore_value", "ingest.label"


def check_named(label_zyx: NDArray[Any], meaning: LabelMeaning, named: Named) -> None:
    """Raises DataError where `meaning` would take a voxel that nobody labelled for a labelled one, what is called
    background for vessel, or one of several classes for vessel only because its number is the larger one.
    """
    if not named:
        return
    settled = {*(meaning.rule.values if meaning.rule.kind == "values" else ()), meaning.ignore_value}
    for value in ignored_among(named):
        if value not in settled and (label_zyx == value).any():
            raise _refused(f"it holds {value}, which dataset.json calls ignore", f"set {_IGNORE}: {value}")
    classes = classes_among(named)
    if meaning.rule.kind == "binary" and len(classes) > 1:
        listed = ", ".join(f"{name} = {' or '.join(map(str, values))}" for name, values in classes.items())
        found = ", ".join(f"{value:g}" for value in np.unique(label_zyx)[:6])
        what = f"it holds {found}, and dataset.json names several classes ({listed})"
        raise _refused(what, f"name those of vessels in {_LABEL}: {{values: […]}}, or set foreground for all of them")
    _check_background(label_zyx, meaning, named)


def _check_background(label_zyx: NDArray[Any], meaning: LabelMeaning, named: Named) -> None:
    """Whether a rule that knows no names takes for vessel what is called background, as where that has the number 1."""
    found = [value for value in np.unique(label_zyx).tolist() if value != meaning.ignore_value]
    taken = found[-1:] if meaning.rule.kind == "binary" else [value for value in found if value != 0]
    wrong = [value for value in taken if value in background_among(named)]
    if wrong and meaning.rule.kind in ("binary", "foreground"):
        vessels = ", ".join(str(value) for values in classes_among(named).values() for value in values)
        what = f"{_LABEL}: {meaning.rule.kind} takes {wrong[0]:g} as vessel, which dataset.json calls background"
        raise _refused(what, f"set {_LABEL}: {{values: [{vessels or '…'}]}}")


def _refused(what: str, remedy: str) -> DataError:
    return DataError(f"{what}; {remedy}", remedy=f"{remedy} in params.yaml (docs/labels.md)")
