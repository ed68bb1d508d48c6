"""Rows of a table whose files are called like those of other rows, as after one column alone was sorted."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from stages.common.dataset.pairing import image_stem, label_stem, stem_of


def exchanged(pairs: Sequence[tuple[str, str]]) -> dict[int, int]:
    """The place of each of `pairs` (image, label; paths with /) whose label is called like the image of another one and
    not like its own → the place of that one. A label that both have is not exchanged.
    """
    by_name: dict[str, list[int]] = defaultdict(list)
    by_folder: dict[str, list[int]] = defaultdict(list)
    for place, (image, _) in enumerate(pairs):
        for name in _image_names(image):
            by_name[name].append(place)
        by_folder[_folder(image)].append(place)
    labelled = {_folder(label) for _, label in pairs}
    found = {}
    for place, (image, label) in enumerate(pairs):
        named = by_name.get(_label_name(label), [])
        if named and place not in named:
            found[place] = named[0]
        elif _folder(image) != _folder(label) and _folder(image) in labelled and _folder(label) in by_folder:
            found[place] = by_folder[_folder(label)][0]
    return {place: other for place, other in found.items() if pairs[place][1] != pairs[other][1]}


def _image_names(path: str) -> set[str]:
    """What its label may be called: all of its name, or what is before a mark such as _image."""
    name = PurePosixPath(path).name
    return {stem_of(name).casefold(), image_stem(name).casefold()}


def _label_name(path: str) -> str:
    return label_stem(PurePosixPath(path).name).casefold()


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)
