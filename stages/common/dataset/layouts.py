"""The folder layouts that are read without a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.common.dataset.nnunet import IMAGES, LABELS, META, nnunet_pairs
from stages.common.dataset.pairing import Pair, pair_files, stacks_among
from stages.common.imaging.suffixes import is_ignored, is_slice, suffix_of

ListFolder = Callable[[str], list[str]]
READ = "images/ + labels/, MiniVess (raw/ + seg/), nnU-Net (imagesTr/ + labelsTr/), BiaPy (train/raw/ + train/label/)"
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "raw", "stacks", "scans")
_LABEL_FOLDERS = (
    *("labels", "label", "masks", "mask", "seg", "segs", "segmentation", "segmentations", "gt", "ground_truth"),
    *("groundtruth", "annotations", "annotation"),
)
_PARTS = ("train", "training", "data/train")  # where they may be instead of at the top
_OTHER_PARTS = ("val", "validation", "test", "testing", "imagests", "labelsts")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A layout that was found: its name, its pairs and remarks on it. `meta` is a file that says more, if any."""

    name: str
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()
    meta: str = ""


@dataclass(frozen=True, kw_only=True)
class NoLayout:
    """Nothing that is read; `found` says what is there."""

    found: str


def find_layout(list_folder: ListFolder) -> Layout | NoLayout:
    """The layout of a source, whose `list_folder` gives the names in a folder ("" is the top).

    One that fits in several ways is none: `found` names the folders.
    """
    top = list_folder("")
    if any(name.casefold() == IMAGES.casefold() for name in top):
        return _nnunet(list_folder, top)
    for part in ("", *_PARTS):
        names = list_folder(part)
        called = [_called(part, names, wanted) for wanted in (_IMAGE_FOLDERS, _LABEL_FOLDERS)]
        images, labels = ([folder for folder in each if stacks_among(list_folder(folder))] for each in called)
        both = [
            found or [folder for folder in each if _slices_in(list_folder, folder)]
            for found, each in zip((images, labels), called, strict=True)
        ]
        if len(both[0]) == len(both[1]) == 1:
            return _folders(list_folder, (both[0][0], both[1][0]), top)
        if images or labels:
            return NoLayout(found=_doubt(images, labels, list_folder))
    return NoLayout(found=_some(top) or "an empty folder")


def _called(part: str, names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The folders in `part` called as `wanted`, in any case."""
    return [f"{part}/{name}" if part else name for name in names if name.casefold() in wanted]


def _slices_in(list_folder: ListFolder, folder: str) -> list[str]:
    """The folders in `folder` that hold slices. Names that are those of files are not looked into."""
    names = [name for name in list_folder(folder) if not (suffix_of(name) or is_slice(name) or is_ignored(name))]
    return [name for name in names if any(map(is_slice, list_folder(f"{folder}/{name}")))]


def _folders(list_folder: ListFolder, folders: tuple[str, str], top: Sequence[str]) -> Layout:
    slices = [_slices_in(list_folder, folder) for folder in folders]
    images, labels = ([*stacks_among(list_folder(folder)), *each] for folder, each in zip(folders, slices, strict=True))
    inner = {f"{folder}/{name}" for folder, names in zip(folders, slices, strict=True) for name in names}
    pairs = pair_files(images, labels, folders)
    # a folder that has no counterpart may be anything
    lone = [pair.image or pair.label for pair in pairs if not (pair.image and pair.label)]
    unread = [name for name in lone if name in inner]
    return Layout(
        name=f"{folders[0]}/ + {folders[1]}/",
        pairs=tuple(pair for pair in pairs if (pair.image and pair.label) or (pair.image or pair.label) not in inner),
        notes=(*_left_out(top), *([f"not read: {_some([f'{name}/' for name in unread])}"] if unread else [])),
    )


def _nnunet(list_folder: ListFolder, top: Sequence[str]) -> Layout | NoLayout:
    named = [[name for name in top if name.casefold() == wanted.casefold()] for wanted in (IMAGES, LABELS)]
    images, labels = ([name for name in names if stacks_among(list_folder(name))] for names in named)
    if len(images) != 1 or len(labels) != 1:
        return NoLayout(found=_doubt(images, labels, list_folder))
    folders = images[0], labels[0]
    meta = META if META in top else ""
    pairs = tuple(nnunet_pairs(stacks_among(list_folder(folders[0])), stacks_among(list_folder(folders[1])), folders))
    return Layout(name=f"nnU-Net ({folders[0]}/ + {folders[1]}/)", pairs=pairs, notes=_left_out(top), meta=meta)


def _left_out(top: Sequence[str]) -> tuple[str, ...]:
    others = [name for name in top if name.casefold() in _OTHER_PARTS]
    return (f"not read: {', '.join(f'{name}/' for name in others)}",) if others else ()


def _doubt(images: Sequence[str], labels: Sequence[str], list_folder: ListFolder) -> str:
    if len(images) > 1 or len(labels) > 1:
        both = ", ".join(f"{name}/" for name in (*images, *labels))
        return f"{both}: it is unclear which of them belong together"
    kind, other = ("images", "labels") if images else ("labels", "images")
    (folder,) = (*images, *labels) or ("",)
    if not folder:
        return f"{IMAGES}/ without stacks"
    stacks = stacks_among(list_folder(folder))
    count = f"{len(stacks)} stack{'s' if len(stacks) > 1 else ''}"
    return f"{folder}/ with {count} ({_some(stacks)}), without a folder of {other} for these {kind}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
