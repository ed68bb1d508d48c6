"""What the batch script of a job runs on a node that shares no disk with the head.

`python -m capillary.places.apart.node WORK`, where WORK holds the unpacked bundle: fetches the deps and what former
attempts left, runs the job of WORK/job in WORK/project, and sends the outs and how the job ended to the remote.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from capillary.dvc.errors import DvcException
from capillary.dvc.objects import restore
from capillary.dvc.remote import MOST_BYTES, Remote, patiently
from capillary.lifetimes.stop import Stop, listening
from capillary.places.apart.bundle import APART_FILE, MOST_ARCHIVE_BYTES, Apart, tar_of, untar
from capillary.places.job import GATES, JOB_FILE, LOG_FILE, JobDep, read_job
from capillary.places.node.room import lacked_space, tells_of_space
from capillary.places.node.work import node_name, run_job
from capillary.places.outcome import (
    ATTEMPTS,
    CIRCUMSTANCES_FILE,
    ENDED_FILE,
    OUTS,
    REQUEUED_FILE,
    STOP_FILE,
    Ended,
    attempts,
    read_ended,
    write_ended,
)
from capillary.places.slurm import queue
from capillary.places.slurm.node import RUNNING, own_job
from stages.common.errors import CapillaryError, ExitCode, ServiceError, machine_error
from stages.common.program.ending import print_report, run_main
from stages.common.program.messages import get_logger
from stages.common.runtime import ORDER_FILE, StageOrder, order_json, read_order
from stages.common.stage_main import tell_as

log = get_logger(__name__)

POLL_S = 10.0
STATE_TURNS = 6  # polls between two looks at the checkpoints, which may be large
PATIENCE_MIN = 60  # what a job has computed is nowhere else
STATE, OUTBOX, RECEIPTS = "state.tar.gz", "outbox.tar.gz", "receipts.tar.gz"
OUTS_LIST = "outs.json"


class Node:
    """The job that was unpacked into `work`."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._apart = Apart.model_validate_json((work / APART_FILE).read_bytes())
        self._project = work / "project"
        self.folder = work / "job"
        self._remote = Remote(self._project)
        self._own_attempt = 1
        self._kept: list[tuple[str, int]] = []  # name and time of each file in the state that the remote has

    @property
    def order(self) -> StageOrder:
        return read_order(self.folder / ORDER_FILE)

    def fetch(self) -> None:
        """Fetch the deps by their hashes, and what former attempts at this job left."""
        for number in itertools.count(1):
            former = self._read(f"{ATTEMPTS}/{number}.json")
            if former is None:
                break
            (self.folder / ATTEMPTS).mkdir(exist_ok=True)
            (self.folder / ATTEMPTS / f"{number}.json").write_bytes(former)
            self._own_attempt = number + 1
        self.look_for_stop()
        if (state := self._read(STATE, MOST_ARCHIVE_BYTES)) is not None:
            untar(state, self.order.state_dir)
        patiently(self._pull, PATIENCE_MIN)
        for name, digest in self._apart.fetched.items():
            restore(self._remote.cache, digest, self._project / name)

    def _pull(self) -> None:
        """A remote that is away may come back; space here does not."""
        try:
            self._remote.pull(sorted(set(self._apart.fetched.values())))
        except OSError as error:
            if (full := machine_error(error)) and tells_of_space(error):
                raise full from error
            raise

    def lacks_space(self, error: Exception) -> bool:
        """Whether `error` came of a full disk here, where all is that the job has; not of one at the remote."""
        told = tells_of_space(error) or lacked_space(ExitCode.MACHINE, self.work, self.folder / LOG_FILE, 0)
        return told and not isinstance(error, ServiceError)

    def for_want_of_space(self, ended: Ended) -> Ended:
        """`ended` of a job that another node may have the space for."""
        return ended.model_copy(update={"full": str(self.work.parent)})

    def look_for_stop(self) -> None:
        """Take the head's request to end, if it made one."""
        if self._read(STOP_FILE) is not None:
            (self.folder / STOP_FILE).touch()

    def send(self) -> None:
        """Tell the head which node works on the job and what it printed."""
        for number, _ in enumerate(attempts(self.folder), start=1):
            name = f"{ATTEMPTS}/{number}.json"
            self.write(name, (self.folder / name).read_bytes())
        self.write(f"{LOG_FILE}-{self._own_attempt}", (self.folder / LOG_FILE).read_bytes())

    def keep_state(self) -> None:
        """Send the checkpoints, from which the next attempt resumes, wherever it runs."""
        files = (file for file in self.order.state_dir.rglob("*") if file.is_file())
        seen = sorted((str(file), file.stat().st_mtime_ns) for file in files)
        if seen != self._kept:
            self.write(STATE, tar_of(self.order.state_dir))
            self._kept = seen

    def deliver(self) -> None:
        """Send the outs by their hashes and the records for a tracking server; last, how the job ended."""
        outs = self.folder / OUTS
        hashes = {name: self._remote.add(outs / name) for name in read_job(self.folder).outs if (outs / name).exists()}
        patiently(lambda: self._remote.push(sorted(set(hashes.values()))), PATIENCE_MIN)
        self.write(OUTS_LIST, json.dumps(hashes).encode())
        for name, place in ((OUTBOX, self.order.outbox), (RECEIPTS, self.order.receipts)):
            if place is not None and place.is_dir():
                self.write(name, tar_of(place))
        if (note := self.folder / CIRCUMSTANCES_FILE).is_file():
            self.write(CIRCUMSTANCES_FILE, note.read_bytes())
        self.send()
        self.write(ENDED_FILE, (self.folder / ENDED_FILE).read_bytes())

    def _read(self, name: str, most_bytes: int = MOST_BYTES) -> bytes | None:
        return patiently(lambda: self._remote.read(self._apart.box, name, most_bytes), PATIENCE_MIN)

    def write(self, name: str, content: bytes) -> None:
        """Put a file into the mailbox of the job."""
        patiently(lambda: self._remote.write(self._apart.box, name, content), PATIENCE_MIN)

    def settle(self) -> None:
        """Let the job and its gates name this node's places instead of the head's."""
        for folder in (self.folder, *sorted((self.folder / GATES).glob("*"))):
            job, order = read_job(folder), read_order(folder / ORDER_FILE)
            kept = self._project / ".capillary"
            state = kept / "state" / order.state_dir.name
            order = dataclasses.replace(
                order,
                state_dir=state,
                cache_dir=self._remote.cache,
                outbox=kept / "outbox",
                receipts=kept / "receipts",
                downloads=kept / "downloads",
            )
            writable = (*((state,) if job.access.resume else ()), order.outbox, order.receipts)
            changes = {"root": self._project, "repository": self._project, "writable": writable}
            deps = tuple(self._dep(dep) for dep in job.deps)
            (folder / ORDER_FILE).chmod(0o644)
            (folder / ORDER_FILE).write_bytes(order_json(order))
            (folder / JOB_FILE).write_text(job.model_copy(update={**changes, "deps": deps}).model_dump_json())

    def _dep(self, dep: JobDep) -> JobDep:
        if dep.host is None:
            return dep
        if dep.host.is_relative_to(self._apart.folder):
            here = self.folder / dep.host.relative_to(self._apart.folder)
        else:
            here = self._project / dep.name
        # what comes by its hash was checked against it
        return dep.model_copy(update={"host": here, **({"stamp": None} if dep.name in self._apart.fetched else {})})


@contextlib.contextmanager
def _sending(node: Node) -> Iterator[None]:
    """During the block, keep the head informed and save checkpoints in case this node is lost."""
    over = threading.Event()

    def send() -> None:
        for turn in itertools.count(1):
            if over.wait(POLL_S):
                return
            with contextlib.suppress(OSError, DvcException, CapillaryError):
                node.send()
                if turn % STATE_TURNS == 0:
                    node.keep_state()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def run(work: Path, stop: Stop) -> int:
    """Carry out the job in `work`; returns its exit code."""
    node, started = Node(work), time.time()
    tell_as(node.order)
    try:
        return _attempt(node, stop, started)
    except (CapillaryError, OSError) as error:
        if not node.lacks_space(error):
            raise
        ended = Ended(code=ExitCode.MACHINE, node=node_name(), started=started, ended=time.time())
        node.write(ENDED_FILE, node.for_want_of_space(ended).model_dump_json().encode())  # not on this disk
        return ExitCode.MACHINE


def _attempt(node: Node, stop: Stop, started: float) -> int:
    code = 0
    try:
        node.settle()
        node.fetch()
    except CapillaryError as error:
        if node.lacks_space(error):
            raise
        print_report(error)
        code = error.code
        write_ended(node.folder, Ended(code=code, node=node_name(), started=started, ended=time.time()))
    node.send()
    if not code:
        with _sending(node):
            code = run_job(node.folder, stop, before_end=node.look_for_stop)
    if code:
        node.keep_state()
    if (ended := read_ended(node.folder)) is None:
        _again(node, own_job(os.environ), Ended(code=code, node=node_name(), started=started, ended=time.time()))
    elif stop.asked is None and lacked_space(code, node.work, node.folder / LOG_FILE, 0):
        node.write(ENDED_FILE, node.for_want_of_space(ended).model_dump_json().encode())
    else:
        node.deliver()
    return code


def _again(node: Node, job: str, ended: Ended) -> None:
    """As capillary.places.slurm.node: requeue a job that was cut short, unless somebody cancelled it."""
    info = queue.ask(job)
    if isinstance(info, queue.JobInfo) and info.state != RUNNING:
        return
    log.warning("the job was cut short: it returns to the queue and resumes from its checkpoint")
    node.send()
    node.write(REQUEUED_FILE, b"")
    shutil.rmtree(node.work, ignore_errors=True)  # what requeues a job ends this process, too
    if refusal := queue.requeue(job):
        log.warning(f"Slurm does not requeue it: {refusal}")
        node.write(ENDED_FILE, ended.model_dump_json().encode())


def main() -> None:
    """Carry out the job of the folder that the argument names, and remove it."""
    work = Path(sys.argv[1])
    os.chdir("/")
    try:
        with listening() as stop:
            code = run(work, stop)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(code)


if __name__ == "__main__":
    run_main(main)
