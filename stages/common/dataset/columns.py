"""Which column of a table is which, as people call them."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

AXES = "zyx"
SPACING = ("spacing_z_um", "spacing_y_um", "spacing_x_um")
REQUIRED = ("id", "image", "label")
COLUMNS = (*REQUIRED, *SPACING)
GROUP = "group"

_FILE_WORDS = ("", "_path", "_file", "_filename", "_file_name", "_name")
_FILE_STEMS = {
    "image": ("image", "images", "img", "imgs", "raw", "stack_image"),
    "label": (
        "label",
        "labels",
        "mask",
        "masks",
        "seg",
        "segmentation",
        "annotation",
        "ground_truth",
        "groundtruth",
        "gt",
    ),
}
_SPACING_STEMS = ("spacing", "voxel_size", "voxelsize", "pixel_size", "pixelsize", "physical_size", "physicalsize")
_MICROMETRES = ("um", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres")
_OTHER_UNITS = ("nm", "mm", "cm", "m", "px", "pixel", "pixels", "voxel", "voxels", "inch", "a")
# columns that may hold what is missing, but also something else
_DOUBTFUL = {
    "id": ("number", "nr", "no", "index", "animal", "mouse", "subject"),
    "image": ("file", "files", "filename", "file_name", "path", "data", "volume", "stack", "scan", "input", "x"),
    "label": ("target", "output", "class", "annotated", "y"),
}
_GROUP_LIKE = ("animal", "animal_id", "mouse", "mouse_id", "subject", "subject_id", "patient", "patient_id", "donor")


def _accepted() -> dict[str, str]:
    names = dict.fromkeys(("id", "identifier", "name", "case", "case_id", "sample", "sample_id", "sample_name"), "id")
    names |= dict.fromkeys(("volume_id", "volume_name", "stack_id", "stack_name", "image_id", "scan_id"), "id")
    names |= dict.fromkeys(("group", "groups", "group_id", "group_name"), GROUP)
    for column, stems in _FILE_STEMS.items():
        names |= {f"{stem}{word}": column for stem in stems for word in _FILE_WORDS}
    for axis, column in zip(AXES, SPACING, strict=True):
        for unit in _MICROMETRES:
            names |= {f"{stem}_{axis}_{unit}": column for stem in _SPACING_STEMS}
            names |= {f"{stem}{axis}_{unit}": column for stem in _SPACING_STEMS}
            names |= {f"{axis}_{stem}_{unit}": column for stem in _SPACING_STEMS}
            names |= {f"{stem}_{unit}_{axis}": column for stem in _SPACING_STEMS}
            names |= {f"{axis}_{unit}": column, f"d{axis}_{unit}": column, f"{axis}_step_{unit}": column}
    return names


ACCEPTED = _accepted()  # a name in the form of `key_of` → the column that it means
_SPACING_LIKE = re.compile(r"spac|voxel_?siz|pixel_?siz|physical_?siz|resolution|calibration|^d?[zyx]$|^[zyx]_step")
# words of names that may mean a spacing, but also something else, next to an axis or a unit
_MAYBE_SPACING = {"scale", "res", "pixdim", "thickness", "sampling", "step", "delta", "voxel", "pixel", "size"}
_AXIS_WORD = re.compile(r"d?(?:z|y|x|xy|yx)(?:size|(step|res|scale|pitch))?")  # dz, xysize, zstep
_PARTS = {"px", "pixel", "pixels", "voxel", "voxels", "slice", "section"}  # um_per_px, slice_um
_LISTED = 6  # accepted names that a message lists
_OUR_OWN = {"spacing_source"}  # a remark that `capillary dataset init` writes


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where in a row each column is, the names as the table has them, and remarks on columns that are not read."""

    places: dict[str, int]
    names: dict[str, str]
    notes: tuple[str, ...] = ()


def key_of(name: str) -> str:
    """`name` in the form that is compared: small letters, _ for blanks and brackets, u for both µ."""
    text = unicodedata.normalize("NFKC", name).casefold().replace("μ", "u")
    return re.sub(r"[^0-9a-z]+", "_", text).strip("_")


def find_columns(header: Sequence[str], required: Sequence[str] = REQUIRED) -> tuple[Columns, list[str]]:
    """The columns of `header`, and every fault that makes the table unusable, in words: it needs those `required`."""
    keys = [key_of(name) for name in header]
    places: dict[str, int] = {}
    faults = []
    for column in (*COLUMNS, GROUP):
        found = _places_of(column, keys)
        if len(found) > 1:
            faults.append(f"it names the column {column} twice: {_listed(header[at] for at in found)}; keep one")
        if found:
            places[column] = found[0]
    faults += _missing(places, header, keys, required)
    faults += _doubtful_spacing(places, header, keys)
    names = {column: header[at] for column, at in places.items()}
    return Columns(places=places, names=names, notes=_notes(places, header, keys)), faults


def _places_of(column: str, keys: Sequence[str]) -> list[int]:
    """Where `column` is: under its own name if that is there, else under others that mean it."""
    own = [at for at, key in enumerate(keys) if key == column]
    return own or [at for at, key in enumerate(keys) if ACCEPTED.get(key) == column]


def _missing(places: dict[str, int], header: Sequence[str], keys: Sequence[str], required: Sequence[str]) -> list[str]:
    missing = [column for column in required if column not in places]
    if not missing:
        return []
    faults = [f"it lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"]
    taken = set(places.values())
    for column in missing:
        near = {key for key in keys if difflib.get_close_matches(key, [column], cutoff=0.7)}
        maybe = [
            header[at] for at, key in enumerate(keys) if at not in taken and (key in _DOUBTFUL[column] or key in near)
        ]
        if maybe:
            faults.append(f"{_listed(maybe)} may be {column}: rename it if so (also read: {_others(column)})")
    return faults


def _doubtful_spacing(places: dict[str, int], header: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Columns that look like a spacing, where one is missing: left out in silence, they would not count."""
    missing = [column for column in SPACING if column not in places]
    if not missing:
        return []
    return [
        f"the column {name!r} {_doubt(key)}: name it {' or '.join(missing)} if its values are µm, else remove it"
        for name, key in zip(header, keys, strict=True)
        if key not in ACCEPTED and key not in _OUR_OWN and _looks_like_spacing(key, missing)
    ]


def _looks_like_spacing(key: str, missing: Sequence[str]) -> bool:
    return _SPACING_LIKE.search(key) is not None or bool(difflib.get_close_matches(key, missing, cutoff=0.85))


def _may_be_spacing(key: str) -> bool:
    words = set(key.split("_"))
    is_measured = bool(words & {*_MICROMETRES, *_OTHER_UNITS})
    axes = [found for word in words if (found := _AXIS_WORD.fullmatch(word))]
    if any(found[1] for found in axes) or (words & _PARTS and words & {*_MICROMETRES}):
        return True
    return bool((is_measured and axes) or (words & _MAYBE_SPACING and (is_measured or axes)))


def _doubt(key: str) -> str:
    words = re.sub("^(voxel|pixel)_?size", "", key).split("_")
    unit = next((word for word in words if word in _OTHER_UNITS), None)
    if unit is not None:
        return f"is in {unit}, not in µm"
    return "may be a spacing, but has no unit" if "um" not in words else "may be a spacing of one axis"


def _notes(places: dict[str, int], header: Sequence[str], keys: Sequence[str]) -> tuple[str, ...]:
    read_as = [
        f"the column {header[at]!r} is read as {column}"
        for column, at in places.items()
        if keys[at] != column and not keys[at].startswith("spacing_")
    ]
    read_as += _unread(places, header, keys)
    if GROUP not in places:
        like = [name for name, key in zip(header, keys, strict=True) if key in _GROUP_LIKE]
        read_as += [f"the column {name!r} is not read; name it group if its stacks belong together" for name in like]
    return tuple(read_as)


def _unread(places: dict[str, int], header: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Remarks on columns that may have been meant: a synonym next to the column's own name, and maybe a spacing."""
    remarks = []
    for column, at in places.items():
        others = [name for name, key in zip(header, keys, strict=True) if ACCEPTED.get(key) == column != key]
        if others and column != "id" and keys[at] == column:
            remarks.append(f"the column {header[at]!r} is read, not {_listed(others)}")
    missing = [column for column in SPACING if column not in places]
    maybe = [name for name, key in zip(header, keys, strict=True) if key not in ACCEPTED and _may_be_spacing(key)]
    if missing and maybe:
        remarks.append(f"not read: {_listed(maybe)}; if they are spacings, name them {', '.join(missing)}")
    return remarks


def _others(column: str) -> str:
    names = [name for name, meant in ACCEPTED.items() if meant == column and name != column]
    return ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
