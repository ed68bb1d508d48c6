"""The names that files of stacks have. Standard library alone: the host side asks, too."""

TIFF_SUFFIXES = (".ome.tiff", ".ome.tif", ".tiff", ".tif")
NIFTI_SUFFIXES = (".nii.gz", ".nii")
SUFFIXES = (*TIFF_SUFFIXES, *NIFTI_SUFFIXES)


def suffix_of(name: str) -> str | None:
    """The suffix by which a file called `name` is read, whole (".nii.gz") and in small letters; None if it has none."""
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)
