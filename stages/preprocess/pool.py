"""All volumes, on several processes: the largest first, so that no big one starts last and is waited for alone.

Each worker holds one volume at a time: peak memory is the workers times what the largest volume takes.
"""

import concurrent.futures
import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool

from stages.common.errors import CapillaryError, MachineError
from stages.common.lifetimes.signals import install
from stages.preprocess.prepare import Prepared, Task, prepare


@contextlib.contextmanager
def prepared_volumes(tasks: Iterable[Task], workers: int) -> Iterator[Iterator[Prepared]]:
    """Yields an iterator over the volumes as they get ready. `workers` decides how fast, never what.

    The first failure is raised, named after its volume. Leaving the block, by an error too, ends all workers.
    """
    ordered = sorted(tasks, key=lambda task: (-task.voxels, task.raw.id))
    workers = min(workers, len(ordered))
    if workers <= 1:
        yield (_prepare_named(task) for task in ordered)
        return
    others = set(multiprocessing.active_children())
    pool = concurrent.futures.ProcessPoolExecutor(workers, mp_context=_context(), initializer=_die_on_interrupt)
    futures: dict[concurrent.futures.Future[Prepared], Task] = {}
    try:
        futures.update((pool.submit(_prepare_named, task), task) for task in ordered)  # the first ones start workers
        yield _collect(futures, workers)
    finally:
        if len(futures) < len(ordered) or not all(future.done() for future in futures):
            # an error or Ctrl-C must not wait for the volumes in hand
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
        pool.shutdown(cancel_futures=True)


def _collect(futures: dict[concurrent.futures.Future[Prepared], Task], workers: int) -> Iterator[Prepared]:
    for future in concurrent.futures.as_completed(futures):
        try:
            yield future.result()
        except BrokenProcessPool as error:
            unfinished = [task.raw.id for waiting, task in futures.items() if waiting.exception() is not None]
            raise MachineError(
                "a worker process was killed, most likely because memory ran out",
                remedy="set CAPILLARY_WORKERS=1 to prepare one volume at a time, or use a machine with more memory",
                value=f"working on some of: {', '.join(unfinished[:workers])}",
            ) from error


def _prepare_named(task: Task) -> Prepared:
    """`prepare`, with the volume's name in whatever goes wrong."""
    name = f"volume {task.raw.id}"
    try:
        return prepare(task)
    except CapillaryError as error:
        what = error.what if name in error.what else f"{name}: {error.what}"
        raise CapillaryError(what, remedy=error.remedy, code=error.code, file=error.file, value=error.value) from error
    except Exception as error:
        # a defect keeps its type and traceback; the note says on which data it shows
        error.add_note(f"while preparing {name}")
        raise


def _context() -> multiprocessing.context.BaseContext:
    """Fork on Linux: no second import of the libraries, and what holds the stage to its plan holds its workers too."""
    return multiprocessing.get_context("fork" if sys.platform == "linux" else None)


def _die_on_interrupt() -> None:
    """Ctrl-C reaches every process of the group: a worker ends at once and in silence, the stage reports."""
    install({signal.SIGINT: signal.SIG_DFL})
