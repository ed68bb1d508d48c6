"""The names of a job's files in its folder."""

from pathlib import Path

from serving.jobs.record import Request

MEDIA_TYPES = {".tif": "image/tiff", ".nii.gz": "application/gzip", ".png": "image/png"}


def stack_file(folder: Path, request: Request) -> Path:
    """The file or folder with the stack: as it came, or unpacked."""
    return folder / (request.unpacked or f"stack{request.suffix}")


def stack_path(folder: Path, request: Request) -> Path:
    """The stack as `capillary predict` names it: `stack_file`, or an array in it (stack.h5:/place)."""
    file = stack_file(folder, request)
    return Path(f"{file}:/{request.dataset}") if request.dataset else file


def result_files(folder: Path, request: Request) -> dict[str, Path]:
    """What is made of it: mask, and what else was asked for."""
    files = {"mask": folder / f"mask{request.mask_suffix}"}
    if request.probability:
        files["probability"] = folder / f"mask_probability{request.mask_suffix}"
    if request.picture:
        files["picture"] = folder / "mask.png"
    if request.view:
        files |= {"view_stack": folder / "view_stack.nii.gz", "view_mask": folder / "view_mask.nii.gz"}
    return files


def media_type(file: Path) -> str:
    """The Content-Type of a result."""
    return next(
        (kind for suffix, kind in MEDIA_TYPES.items() if file.name.endswith(suffix)), "application/octet-stream"
    )
