"""The names that stacks have. Standard library alone: the host side asks, too."""

import re

TIFF_SUFFIXES = (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".lsm")
NIFTI_SUFFIXES = (".nii.gz", ".nii")
ZARR_SUFFIXES = (".ome.zarr", ".zarr")
HDF5_SUFFIXES = (".hdf5", ".h5", ".hdf")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
META_SUFFIXES = (".mha", ".mhd")
MICROSCOPE_SUFFIXES = (".czi", ".nd2", ".lif")
# what every stage reads; the others are read by ingest, which turns them into these, and by predict
PLAIN_SUFFIXES = (*TIFF_SUFFIXES, *NIFTI_SUFFIXES)
SUFFIXES = (
    *PLAIN_SUFFIXES,
    *ZARR_SUFFIXES,
    *HDF5_SUFFIXES,
    *NRRD_SUFFIXES,
    *META_SUFFIXES,
    *MICROSCOPE_SUFFIXES,
)
WRITTEN_SUFFIXES = (*(suffix for suffix in PLAIN_SUFFIXES if suffix != ".lsm"), *ZARR_SUFFIXES)
READ = f"{', '.join(SUFFIXES)}, or a folder of slices"  # for messages
SLICE_SUFFIXES = (".tif", ".tiff", ".png")  # of the files in a folder of slices
# what programs and people leave next to the slices
_IGNORED_SUFFIXES = (
    *(".txt", ".csv", ".tsv", ".xml", ".json", ".ini", ".log", ".md", ".html", ".pdf", ".yaml", ".yml", ".db"),
    *(".companion.ome", ".tfw", ".info", ".lnk", ".bak", ".tmp", ".sha256", ".md5", ".dvc", ".gitignore"),
)
_IGNORED_FOLDERS = ("__macosx", "@eadir")
ZARR_METADATA = (".zarray", ".zgroup", ".zattrs", "zarr.json")  # one of these makes a folder a Zarr store
DETACHED_SUFFIXES = (".nhdr", ".mhd")  # headers whose voxels are in a file next to them
_INSIDE = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, HDF5_SUFFIXES))})):(.*)", re.IGNORECASE | re.DOTALL)
_PLACES = re.compile(r"\*|\{z\}")


def suffix_of(name: str) -> str | None:
    """The suffix by which a file called `name` is read, whole (".nii.gz") and in small letters; None if it has none.

    `name` may be followed by the place of an array in an HDF5 file: a.h5:/raw/stack.
    """
    file, _ = split_inside(name)
    return next((suffix for suffix in SUFFIXES if file.lower().endswith(suffix)), None)


def split_inside(name: str) -> tuple[str, str]:
    """`a.h5:/raw/stack` as the name of a file and the place of an array in it; that is "" for every other name."""
    found = _INSIDE.fullmatch(name)
    return (found[1], found[2].strip("/")) if found else (name, "")


def is_pattern(name: str) -> bool:
    """Whether the last part of the path `name` stands for several files, one per slice: z*.tif or z{z}.tif."""
    return _PLACES.search(name.rpartition("/")[2]) is not None


def pattern_of(name: str) -> re.Pattern[str]:
    """What matches the names of the files that the pattern `name` (without a folder) stands for."""
    parts = re.split(r"(\*|\{z\})", name)
    marks = {"*": ".*", "{z}": r"\d+"}
    return re.compile("".join(marks.get(part, re.escape(part)) for part in parts), re.IGNORECASE | re.DOTALL)


def may_name_stack(path: str) -> bool:
    """Whether `path` names a file that is read, a pattern of slices, or what can be a folder of slices."""
    is_bare = path != "" and "." not in path.rpartition("/")[2]
    return suffix_of(path) is not None or is_pattern(path) or path.endswith("/") or is_bare


def is_slice(name: str) -> bool:
    """Whether a file of this name can be a slice."""
    return name.lower().endswith(SLICE_SUFFIXES) and not name.startswith(".")


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name next to the slices means nothing."""
    lower = name.lower()
    return lower.startswith(".") or lower.endswith(_IGNORED_SUFFIXES) or lower in _IGNORED_FOLDERS
