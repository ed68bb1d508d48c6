"""A request checked before anything starts: stacks that are there, and files that can be written and harm nothing."""

import tempfile
from pathlib import Path

from capillary.prediction.names import usage
from capillary.prediction.stack_path import locate
from stages.common.errors import DataError, MachineError
from stages.common.imaging.suffixes import READ, WRITTEN_SUFFIXES, ZARR_SUFFIXES, suffix_of
from stages.common.requests.prediction.request import PredictRequest, StackRequest


def check_request(request: PredictRequest) -> None:
    """Raise CapillaryError for a file that is missing, cannot be read or written, or would be lost."""
    if request.model is not None and (request.loss is not None or request.folds or request.seeds):
        raise usage(
            "--model names the model, --loss, --fold and --seed choose among the cards in models/", "give one of them"
        )
    for stack in request.stacks:
        _check_names(stack, is_recorded=request.folder is not None)
        _check_stack(stack)
    if request.folder is not None:
        return  # its files are compared with what the folder holds (output/existing.py)
    (stack,) = request.stacks
    for file in stack.files:
        _check_target(file, force=request.force)


def _check_names(stack: StackRequest, *, is_recorded: bool) -> None:
    """Raise DataError for a name that is not text: requests are JSON, and so are the records of a folder, which have
    the whole path of a stack.
    """
    for file, used in ((stack.image, str(stack.image) if is_recorded else stack.image.name), (stack.mask, "")):
        try:
            (used or file.name).encode()
        except UnicodeEncodeError as error:
            raise DataError(
                "this name is not UTF-8 text",
                file=file,
                remedy="rename it, or the folder above it: convmv -f latin1 -t utf-8 does so for many",
            ) from error


def _check_stack(stack: StackRequest) -> None:
    host = locate(stack.image).host
    if not host.exists():
        raise DataError("the stack does not exist", file=stack.image, remedy="correct its name or copy it there")
    if host.is_file() and suffix_of(str(stack.image)) is None:
        raise usage("the format is not supported, judging by the file name", f"save it as one of {READ}", stack.image)
    if suffix_of(stack.mask.name) not in WRITTEN_SUFFIXES:
        known = ", ".join(WRITTEN_SUFFIXES)
        raise usage(
            "masks cannot be written in this format, judging by the file name", f"name it as one of {known}", stack.mask
        )
    for file in stack.files:
        if file.exists() and file.samefile(host):
            raise usage("the mask would replace the stack", "choose another name or folder", file)


def _check_target(file: Path, *, force: bool) -> None:
    if file.is_dir() and not _is_store(file):
        raise usage("this is a folder, not a file", "name the file itself, such as seg.tif", file)
    if file.exists() and not force:
        raise usage("the file already exists", "choose another name, or replace it with --force", file)
    check_writable(next(folder for folder in file.absolute().parents if folder.exists()))


def _is_store(folder: Path) -> bool:
    """Whether a folder is a Zarr store, by its name and its content: such a one may be replaced as a file may."""
    is_named = suffix_of(folder.name) in ZARR_SUFFIXES
    return is_named and any((folder / name).is_file() for name in (".zgroup", ".zarray", "zarr.json"))


def check_writable(folder: Path) -> None:
    """Raise CapillaryError unless a file can be made in `folder`.

    Tried, not asked for: to root the system says yes, also on a file system that is mounted read-only.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise MachineError(
            "nothing can be written here",
            file=folder,
            value=error.strerror,
            remedy="choose another folder, or change its permissions",
        ) from error
