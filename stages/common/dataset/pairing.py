"""Which label file belongs to which image file, by their names."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from stages.common.imaging.suffixes import suffix_of

_LABEL_MARK = re.compile(
    r"[_\-. ](y|labels?|seg|segm|segmentations?|masks?|gt|ground_?truth|annotations?)$", re.IGNORECASE
)
_IMAGE_MARK = re.compile(r"[_\-. ](x|images?|img|raw)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The files of one volume, "" for one that is missing. `faults` says why it cannot be one.

    `unsure` are those of "image" and "label" for which another file could be meant as well: nobody may choose for the
    user.
    """

    name: str
    image: str
    label: str
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    unsure: frozenset[str] = frozenset()


def stacks_among(names: Sequence[str]) -> list[str]:
    """Those that are stacks by their suffix; files that a system hides do not count."""
    return [name for name in names if not name.startswith(".") and suffix_of(name) is not None]


def stem_of(name: str) -> str:
    """`name` without the suffix of a stack."""
    suffix = suffix_of(name) or ""
    return name[: len(name) - len(suffix)]


def _exact(name: str) -> str:
    return unicodedata.normalize("NFC", stem_of(name))


def label_stem(name: str) -> str:
    """`mv01` of `mv01_y.nii.gz`."""
    return _LABEL_MARK.sub("", _exact(name))


def image_stem(name: str) -> str:
    """`mv01` of `mv01_image.tif`."""
    return _IMAGE_MARK.sub("", _exact(name))


_Key = Callable[[str], str]
# from the surest to the least sure; what one of them pairs, the next does not see
_RULES: tuple[tuple[_Key, _Key], ...] = (
    (_exact, _exact),
    (_exact, label_stem),
    (image_stem, label_stem),
    (lambda name: image_stem(name).casefold(), lambda name: label_stem(name).casefold()),
)

_UNMARKED = 2  # by the first rules an image's whole name is the volume's


def pair_files(images: Sequence[str], labels: Sequence[str], folders: tuple[str, str]) -> list[Pair]:
    """Pairs of file names, and what is left alone, sorted by name; `folders` are those of images and of labels."""
    left, right = list(images), list(labels)
    pairs: list[Pair] = []
    for number, (image_key, label_key) in enumerate(_RULES):
        groups = list(_groups(left, right, image_key, label_key))
        pairs += [_pair(*group, folders, number) for group in groups]
        taken = {name for group in groups for name in group[0]}, {name for group in groups for name in group[1]}
        left = [name for name in left if name not in taken[0]]
        right = [name for name in right if name not in taken[1]]
    rivals = _rivals(pairs, right)
    pairs = [_with_rivals(pair, rivals[pair.name], folders[1]) if pair.name in rivals else pair for pair in pairs]
    pairs += [_lone_image(name, folders) for name in left]
    pairs += [_lone_label(name, folders) for name in right if label_stem(name) not in rivals]
    return sorted(pairs, key=lambda pair: pair.name)


def _rivals(pairs: Sequence[Pair], labels: Sequence[str]) -> dict[str, list[str]]:
    """Those of `labels` that an earlier rule left alone although they are of a volume in `pairs`, by its name."""
    names = {pair.name for pair in pairs}
    found = defaultdict(list)
    for label in labels:
        if label_stem(label) in names:
            found[label_stem(label)].append(label)
    return found


def _with_rivals(pair: Pair, rivals: Sequence[str], folder: str) -> Pair:
    labels = [pair.label.removeprefix(f"{folder}/"), *rivals]
    return replace(pair, faults=(*pair.faults, _several("label", labels, folder)), unsure=pair.unsure | {"label"})


def _groups(
    images: Sequence[str], labels: Sequence[str], image_key: _Key, label_key: _Key
) -> Iterator[tuple[list[str], list[str]]]:
    ours, theirs = defaultdict(list), defaultdict(list)
    for name in images:
        ours[image_key(name)].append(name)
    for name in labels:
        theirs[label_key(name)].append(name)
    yield from ((found, theirs[key]) for key, found in ours.items() if key in theirs)


def _pair(images: list[str], labels: list[str], folders: tuple[str, str], number: int) -> Pair:
    kinds = zip(("image", "label"), (images, labels), folders, strict=True)
    several = {kind: _several(kind, names, folder) for kind, names, folder in kinds if len(names) > 1}
    note = f"{folders[1]}/{labels[0]} differs in upper and lower case from {folders[0]}/{images[0]}"
    return Pair(
        name=_exact(images[0]) if number < _UNMARKED else image_stem(images[0]),
        image=f"{folders[0]}/{images[0]}",
        label=f"{folders[1]}/{labels[0]}",
        notes=(note,) if number == len(_RULES) - 1 else (),
        faults=tuple(several.values()),
        unsure=frozenset(several),
    )


def _several(kind: str, names: Sequence[str], folder: str) -> str:
    return f"{len(names)} {kind}s match it: {_listed(names, folder)}; keep one"


def _lone_image(name: str, folders: tuple[str, str]) -> Pair:
    fault = (
        f"its label is missing: {folders[1]}/{_exact(name)}.*, or with _y, _label, _seg, _mask or _gt before the suffix"
    )
    return Pair(name=_exact(name), image=f"{folders[0]}/{name}", label="", faults=(fault,))


def _lone_label(name: str, folders: tuple[str, str]) -> Pair:
    stem = label_stem(name)
    fault = f"its image is missing: {folders[0]}/{stem}.*, for the label {folders[1]}/{name}"
    return Pair(name=stem, image="", label=f"{folders[1]}/{name}", faults=(fault,))


def _listed(names: Sequence[str], folder: str) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"{folder}/{name}" for name in names[:3]) + more
