"""`capillary predict IN… FOLDER`: several stacks in one run of the stage, each published as soon as it is done."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from capillary.lifetimes.stop import Stop, ask_to_stop
from capillary.prediction.checks import check_request, check_writable
from capillary.prediction.output.existing import settle_existing
from capillary.prediction.output.publisher import Publisher
from capillary.prediction.output.records import History, read_history
from capillary.prediction.output.table import TABLE_FILE
from capillary.prediction.plan import plan_prediction
from capillary.prediction.running import Runner, choose_runner, execute
from capillary.prediction.spread.stacks import spread_stacks
from capillary.settings import read_settings
from stages.common.errors import UsageError
from stages.common.lifetimes.locks import take
from stages.common.program.ending import print_report
from stages.common.program.messages import get_logger
from stages.common.requests.prediction.request import PredictRequest
from stages.common.requests.prediction.results import stacks_failed

log = get_logger(__name__)

HIDDEN = ".capillary-predict"  # in the output folder, so that a finished file is only renamed


def predict_many(request: PredictRequest, root: Path, stop: Stop) -> int:
    """Predict all stacks of `request` into its folder; returns the exit code."""
    target = request.folder
    assert target is not None
    check_request(request)
    folder = target.absolute()
    history = read_history(folder)
    request = settle_existing(request, folder, history)
    runner = choose_runner(root, read_settings(root))
    with work_folder(folder) as hidden:
        counts, code = (_here if runner.jobs is None else _spread)(request, root, runner, stop, hidden, history)
    _summarise(counts, len(request.stacks), target, code)
    return code


def _here(
    request: PredictRequest, root: Path, runner: Runner, stop: Stop, hidden: Path, history: History
) -> tuple[dict[str, int], int]:
    """(how many stacks ended how, exit code) of one run of the stage on this machine."""
    assert request.folder is not None
    work, taken = hidden / "work", hidden / "taken"
    asked = request.model_copy(update={"folder": work})
    plan = plan_prediction(asked, root, read_settings(root), runner.executor)
    folder = request.folder.absolute()
    publisher = Publisher(stacks=request.stacks, folder=folder, work=work, taken=taken, history=history)
    with publisher.watching(ask_to_stop):
        code = execute(plan, runner.executor, stop, lambda _work: None)
    return publisher.counts, code


def _spread(
    request: PredictRequest, root: Path, runner: Runner, stop: Stop, hidden: Path, history: History
) -> tuple[dict[str, int], int]:
    """The same of jobs, each with some of the stacks."""
    assert runner.jobs is not None
    counts, code = spread_stacks(request, root, stop, runner.jobs, hidden, history)
    if counts["failed"] and not code:
        failed = stacks_failed(counts["failed"], len(request.stacks))
        print_report(failed)
        code = failed.code
    return counts, code


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
        with locked(folder / HIDDEN) as hidden:
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
def locked(hidden: Path) -> Iterator[Path]:
    """Hold the folder `hidden` for the block. Raises CapillaryError where another run does."""
    if hidden.is_symlink():
        raise UsageError("this is a link", file=hidden, remedy="remove it")
    lock = take(hidden / "lock")
    if lock is None:
        raise UsageError(
            "another capillary predict is writing into this folder",
            file=hidden.parent,
            remedy="wait until it ends, or choose another folder",
        )
    with lock:
        yield hidden


def _summarise(counts: dict[str, int], total: int, folder: Path, code: int) -> None:
    done = counts["done"] + counts["unchanged"]
    before = f" ({counts['unchanged']} of them before)" if counts["unchanged"] else ""
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    log.info(f"{done} of {total} stacks are done{before}{failed}: {folder / TABLE_FILE}")
    if done + counts["failed"] < total and code:
        log.info("the same command with --resume continues")
