"""python -m serving.worker REFERENCE: networks in memory, stacks from standard input, answers on standard output.

Its own process, so that a new model loads while the old one answers, and a stack that ends it ends nothing else.
Nothing is unpickled: networks are read as `capillary predict` reads them.
"""

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from serving.jobs.files import result_files, stack_path
from serving.jobs.record import Request, Result
from serving.models.messages import Answer, Message, Resolve, line_of
from serving.models.networks import Networks, load_networks, pinned_reference, self_test
from serving.models.view import write_view
from serving.settings import THREADS, ServeSettings
from stages.common.errors import CapillaryError, ExitCode, find_foreseen
from stages.common.machine.cores import allowed_cores
from stages.common.monitoring.memory_guard import guarding
from stages.common.program.messages import get_logger, print_messages
from stages.common.requests.prediction.request import StackRequest
from stages.common.runtime import read_runtime
from stages.common.text import visible
from stages.predict.disk.scratch import Scratch
from stages.predict.reporting import Report, Tick
from stages.predict.steps import Method, compute, prepare, survey, write

log = get_logger(__name__)

Send = Callable[[Message], None]
# step of a stack → the shares of its time, about, at which the step begins and ends
SPANS = {"read": (0.0, 0.1), "predict": (0.1, 1.0)}


def main() -> None:
    """Load, prove the networks on a test stack, then answer until standard input ends."""
    send = _own_output()
    told = ServeSettings()
    print_messages(told.log_level, told.log_format)
    threading.excepthook = _end_process
    try:
        runtime = read_runtime()
        torch.set_num_threads(thread_count())
        torch.backends.cudnn.deterministic = True
        networks = load_networks(sys.argv[1] if len(sys.argv) > 1 else "", Path.cwd(), runtime)
        self_test(networks.ensemble, networks.evaluation.test_time_flips)
    except (CapillaryError, OSError) as error:
        send(Answer(failure=_failure(_foreseen(error))))
        return
    send(Answer(ready=networks.served, pinned=networks.pinned))
    stacks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(stacks.put, send), daemon=True).start()
    # On this thread, which has computed already: another one would get threads of its own for torch's loops. With more
    # threads than cores, OpenMP's go to sleep after each loop, and a stack takes a seventh longer.
    while True:
        _segment(stacks.get(), networks, send)


def thread_count() -> int:
    """What the service was told, or as many cores as its container may use."""
    cores, _ = allowed_cores()
    return int(os.environ.get(THREADS) or cores)


def _listen(take_stack: Callable[[dict[str, Any]], None], send: Send) -> None:
    """Pass on what standard input asks for; looking up the alias does not wait for a stack, which takes minutes.

    Ends the process with standard input: nobody is left to answer.
    """
    for line in sys.stdin:
        ask = _parsed(line)
        if ask["ask"] == "resolve":
            asked = Resolve.model_validate(ask)
            threading.Thread(target=_resolve, args=(asked, send), daemon=True).start()
        else:
            take_stack(ask)
    os._exit(0)


def _resolve(asked: Resolve, send: Send) -> None:
    try:
        found = pinned_reference(asked.reference, Path.cwd(), read_runtime())
        send(Answer(number=asked.number, resolved=found))
    except (CapillaryError, OSError) as error:
        send(Answer(number=asked.number, unresolved=visible(_foreseen(error).what)))


def _segment(ask: dict[str, Any], networks: Networks, send: Send) -> None:
    job = str(ask["job"])
    try:
        send(
            Answer(
                job=job,
                result=segment(
                    Path(ask["folder"]),
                    Request.model_validate(ask["request"]),
                    networks,
                    lambda share: send(Answer(job=job, progress=share)),
                ),
            )
        )
    except Exception as error:  # noqa: BLE001 - one stack's: the networks serve the next one, and everybody else
        send(Answer(job=job, failure=_failure(_of_stack(error, job))))


def _of_stack(error: Exception, job: str) -> CapillaryError:
    """What the client is told of a stack that failed. The details are logged for the operator.

    Raises torch's own errors: after one, a GPU may be of no use to this process.
    """
    found = find_foreseen(error)
    if found is error:
        return found
    if found is None and isinstance(error, RuntimeError):
        raise error
    log.error(f"job {job}: {error!r}", exc_info=error if found is None else None)
    what = "the service cannot work on this stack" if found is None else found.what
    remedy = "send it again later, or tell the service's operator, whose log says more"
    return CapillaryError(what, remedy=remedy, code=ExitCode.UNEXPECTED if found is None else found.code)


def segment(folder: Path, request: Request, networks: Networks, note: Callable[[float], None]) -> Result:
    """Segment the stack in `folder` by the steps of `capillary predict`; its files appear there."""
    began, files = time.monotonic(), result_files(folder, request)
    stack = StackRequest(
        image=stack_path(folder, request),
        mask=files["mask"],
        probability=files.get("probability"),
        picture=files.get("picture"),
        spacing_um=request.spacing_um,
        channel=networks.channel,
        level_um=networks.level_um,
    )
    report = _report(note)
    place = survey(stack, report)
    with guarding(networks.memory_abort_gb) as guard, Scratch(stack.mask) as scratch:
        method = Method(
            ensemble=networks.ensemble,
            evaluation=networks.evaluation,
            batch_size=networks.batch_size,
            guard=guard,
        )
        prepared = prepare(stack, place, method, scratch, lambda needed, _: scratch.refuse_full_disk(needed), report)
        computed = compute(prepared, place, method, scratch, report)
        write(stack, place, computed)
        if "view_stack" in files:
            write_view(files["view_stack"], files["view_mask"], computed.image, computed.mask, place.spacing_um)
        return Result(
            seconds=round(time.monotonic() - began, 3),
            shape_zyx=place.shape_zyx,
            spacing_um=place.spacing_um,
            vessel_share=computed.vessel_share,
        )


def _report(note: Callable[[float], None]) -> Report:
    """Progress goes to the parent, at most a hundred times per step, and never falls; warnings go to the log."""

    @contextlib.contextmanager
    def steps(title: str, total: int) -> Iterator[Tick]:
        begin, end = SPANS[title]
        done, told = 0, 0

        def tick() -> None:
            nonlocal done, told
            done += 1
            if (percent := 100 * done // total) > told:
                told = percent
                note(begin + (end - begin) * done / total)

        yield tick

    return Report(inform=log.info, warn=log.warning, steps=steps)


def _end_process(lost: threading.ExceptHookArgs) -> None:
    """A defect in a thread ends the process, or its parent would wait for ever."""
    sys.excepthook(lost.exc_type, lost.exc_value or lost.exc_type(), lost.exc_traceback)
    os._exit(1)


def _own_output() -> Send:
    """What writes answers. Whatever else the process prints goes to standard error."""
    answers = os.dup(1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(message: Message) -> None:
        with lock:
            os.write(answers, line_of(message))

    return send


def _parsed(line: str) -> dict[str, Any]:
    ask: dict[str, Any] = json.loads(line)
    return ask


def _foreseen(error: CapillaryError | OSError) -> CapillaryError:
    """The failure behind `error`, such as a store that this user may not write, with its file; others are raised."""
    found = find_foreseen(error)
    if found is None:
        raise error
    if found is error or found.file is None:
        return found
    return CapillaryError(f"{found.what}: {found.file}", remedy=found.remedy, code=found.code)


def _failure(error: CapillaryError) -> dict[str, str]:
    # names in a stack may be no text, and the service ends a process that sends such an answer
    return {"what": visible(error.what), "remedy": visible(error.remedy)}


if __name__ == "__main__":
    main()
