"""nnU-Net's layout: one file per channel, and dataset.json, which says what the values of labels mean."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stages.common.dataset.pairing import Pair, pair_files, stem_of

IMAGES, LABELS, META = "imagesTr", "labelsTr", "dataset.json"
MAX_META_BYTES = 1 << 20
_CHANNEL = re.compile(r"_([0-9]{4})$")
_BACKGROUND, _IGNORE = "background", "ignore"


@dataclass(frozen=True, kw_only=True)
class Meanings:
    """What dataset.json says: the values of each class, and the name of each channel."""

    labels: Mapping[str, tuple[int, ...]]
    channels: Mapping[str, str]

    def notes(self) -> tuple[str, ...]:
        """Remarks for the user."""
        if not self.labels:
            return ()
        shown = ", ".join(f"{name} = {' or '.join(map(str, values))}" for name, values in self.labels.items())
        said = f"dataset.json: {shown}"
        if len(classes_among(self.labels)) > 1:
            said += "; several classes: ingest.label in params.yaml chooses which are vessel"
        if ignored_among(self.labels):
            said += "; ingest.ignore_value in params.yaml names the value to ignore"
        return (said,)


def classes_among(labels: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """`labels` without background and ignore."""
    return {name: values for name, values in labels.items() if name.casefold() not in (_BACKGROUND, _IGNORE)}


def ignored_among(labels: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The values of voxels that nobody labelled."""
    return tuple(value for name, values in labels.items() if name.casefold() == _IGNORE for value in values)


def background_among(labels: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The values that mean background."""
    return tuple(value for name, values in labels.items() if name.casefold() == _BACKGROUND for value in values)


def nnunet_pairs(images: Sequence[str], labels: Sequence[str], folders: tuple[str, str]) -> Iterator[Pair]:
    """The pairs of a training set in these folders of images and of labels. Of several channels the first is taken, and
    said.
    """
    cases: dict[str, dict[str, str]] = defaultdict(dict)
    plain, labelled = [], {stem_of(name) for name in labels}
    for name in images:
        mark = _CHANNEL.search(stem_of(name))
        if mark is None or stem_of(name) in labelled:
            plain.append(name)
        else:
            cases[f"{stem_of(name)[: mark.start()]}{name[len(stem_of(name)) :]}"][mark[1]] = name
    by_case = {name: name for name in plain} | {case: channels[min(channels)] for case, channels in cases.items()}
    for pair in pair_files(sorted(by_case), labels, folders):
        case = pair.image.removeprefix(f"{folders[0]}/")
        file = by_case.get(case, "")
        yield _with_channel(pair, f"{folders[0]}/{file}" if file else "", sorted(cases.get(case, {})))


def _with_channel(pair: Pair, file: str, channels: Sequence[str]) -> Pair:
    if not file:
        return pair
    notes = pair.notes
    if len(channels) > 1:
        notes = (*notes, f"its channels are {', '.join(channels)}; {channels[0]} is read ({file})")
    faults, unsure = pair.faults, pair.unsure
    if channels and channels[0] != "0000":
        faults = (*faults, f"its channel 0000 is missing; there is {', '.join(channels)}")
        unsure |= {"image"}
    return replace(pair, image=file, notes=notes, faults=faults, unsure=unsure)


def read_meanings(data: bytes) -> Meanings:
    """What a dataset.json of nnU-Net, in the form of version 1 or 2, says. Raises ValueError for anything else."""
    if len(data) > MAX_META_BYTES:
        raise ValueError(f"it has {len(data):,} bytes, the limit is {MAX_META_BYTES:,}")
    try:
        said = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(said, dict):
        raise ValueError("it is not a JSON object")
    channels = said.get("channel_names", said.get("modality", {}))
    return Meanings(labels=_labels(said.get("labels", {})), channels=_texts(channels))


def _labels(said: Any) -> dict[str, tuple[int, ...]]:
    """Version 2 has {name: value or values}, version 1 {value: name}."""
    if not isinstance(said, dict):
        raise ValueError("its labels are not a JSON object")
    found = {}
    for key, value in said.items():
        name, numbers = (value, key) if isinstance(value, str) and key.lstrip("-").isdigit() else (key, value)
        values = numbers if isinstance(numbers, list) else [numbers]
        try:
            found[str(name)] = tuple(int(each) for each in values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"its label {key!r} is not an integer or a list of integers") from error
    return found


def _texts(said: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in said.items()} if isinstance(said, dict) else {}
