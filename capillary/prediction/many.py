"""`capillary predict IN… FOLDER`: several stacks in one run of the stage, each published as soon as it is done."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from capillary.launcher.run import choose_executor
from capillary.lifetimes.stop import Stop, ask_to_stop
from capillary.prediction.checks import check_request, check_writable
from capillary.prediction.output.existing import settle_existing
from capillary.prediction.output.publisher import Publisher
from capillary.prediction.output.records import read_history
from capillary.prediction.output.table import TABLE_FILE
from capillary.prediction.plan import plan_prediction
from capillary.prediction.running import execute
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, ExitCode
from stages.common.lifetimes.locks import take
from stages.common.progress import say
from stages.predict.request import PredictRequest

HIDDEN = ".capillary-predict"  # in the output folder, so that a finished file is only renamed


def predict_many(request: PredictRequest, root: Path, stop: Stop) -> int:
    """Predict all stacks of `request` into its folder; returns the exit code."""
    target = request.folder
    assert target is not None
    check_request(request)
    folder = target.absolute()
    history = read_history(folder)
    request = settle_existing(request, folder, history)
    settings = read_settings(root)
    executor = choose_executor(settings)
    with work_folder(folder) as hidden:
        work, taken = hidden / "work", hidden / "taken"
        plan = plan_prediction(request.model_copy(update={"folder": work}), root, settings, executor)
        publisher = Publisher(stacks=request.stacks, folder=folder, work=work, taken=taken, history=history)
        with publisher.watching(ask_to_stop):
            code = execute(plan, executor, stop, lambda _work: None)
    _summarise(publisher.counts, len(request.stacks), target, code)
    return code


@contextlib.contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder in `folder` for the stage's work; removed at the end, with what a killed run left in it.

    Raises CapillaryError when nothing can be written there, or another run does so now.
    """
    is_new = not folder.exists()
    try:
        (folder / HIDDEN).mkdir(parents=True, exist_ok=True)
    except OSError:
        check_writable(next(place for place in (folder, *folder.parents) if place.is_dir()))
        raise
    try:
        check_writable(folder)
        with _locked(folder / HIDDEN) as hidden:
            for name in ("work", "taken"):
                shutil.rmtree(hidden / name, ignore_errors=True)
                (hidden / name).mkdir()
            try:
                yield hidden
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it holds files: the usual case
                folder.rmdir()


@contextlib.contextmanager
def _locked(hidden: Path) -> Iterator[Path]:
    if hidden.is_symlink():
        raise CapillaryError("this is a link", file=hidden, remedy="remove it", code=ExitCode.USAGE)
    lock = take(hidden / "lock")
    if lock is None:
        raise CapillaryError(
            "another capillary predict is writing into this folder",
            file=hidden.parent,
            remedy="wait until it ends, or choose another folder",
            code=ExitCode.USAGE,
        )
    with lock:
        yield hidden


def _summarise(counts: dict[str, int], total: int, folder: Path, code: int) -> None:
    done = counts["done"] + counts["unchanged"]
    before = f" ({counts['unchanged']} of them before)" if counts["unchanged"] else ""
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    say(f"{done} of {total} stacks are done{before}{failed}: {folder / TABLE_FILE}")
    if done + counts["failed"] < total and code:
        say("the same command with --resume continues")
