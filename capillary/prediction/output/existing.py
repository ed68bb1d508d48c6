"""What a batch does with files that its output folder holds already."""

from collections.abc import Sequence
from pathlib import Path

from capillary.prediction.names import usage
from capillary.prediction.output.records import RECORDS_FILE, History, hashes_of
from capillary.prediction.output.table import TABLE_FILE
from stages.common.errors import CapillaryError
from stages.common.requests.prediction.request import PredictRequest, StackRequest


def settle_existing(request: PredictRequest, folder: Path, history: History) -> PredictRequest:
    """`request` with the key of each stack whose files are whole, under --resume.

    Files that a previous run wrote may be replaced when they were made from other input, models or settings. Raises
    CapillaryError (usage) for files that nobody recorded, or that changed since, unless --force is given; without
    --resume for any file that exists.
    """
    _refuse_foreign_table(folder, force=request.force)
    if not request.resume:
        existing = [file for stack in request.stacks for file in stack.files if file.exists()]
        if existing and not request.force:
            raise _exist(existing)
        return request
    stacks = [_settled(stack, history, force=request.force) for stack in request.stacks]
    return request.model_copy(update={"stacks": tuple(stacks)})


def _settled(stack: StackRequest, history: History, *, force: bool) -> StackRequest:
    hashes = hashes_of(stack.files)
    foreign = [file for file, found in hashes.items() if not history.made(file, found)]
    if foreign and not force:
        raise usage(
            "this file was not written by capillary predict, or was changed since",
            "move it away, or replace it with --force",
            foreign[0],
        )
    return stack.model_copy(update={"made_as": history.key_of(stack.files, hashes)})


def _refuse_foreign_table(folder: Path, *, force: bool) -> None:
    table = folder / TABLE_FILE
    if table.exists() and not (folder / RECORDS_FILE).exists() and not force:
        raise usage(
            f"the folder has a {TABLE_FILE} that capillary predict did not write",
            "move it away, or replace it with --force",
            table,
        )


def _exist(files: Sequence[Path]) -> CapillaryError:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return usage(
        f"the output already exists: {files[0].name}{more}",
        "continue with --resume, replace all with --force, or choose another folder",
        files[0].parent,
    )
