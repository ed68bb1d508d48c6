"""The place `slurm` for nodes that share no disk with the head: inputs and outs go through DVC's remote."""

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath

from capillary.compute.circumstances import MOST_NOTE_BYTES
from capillary.dvc.errors import DvcException
from capillary.dvc.objects import restore
from capillary.dvc.remote import MOST_BYTES, Remote, patiently, silence_words
from capillary.lifetimes.stop import Stop
from capillary.places.apart.bundle import MOST_ARCHIVE_BYTES, Apart, pack, untar
from capillary.places.apart.node import OUTBOX, OUTS_LIST, RECEIPTS, STATE
from capillary.places.follow import Follower
from capillary.places.job import LOG_FILE, Job, job_folder
from capillary.places.outcome import (
    ATTEMPTS,
    CIRCUMSTANCES_FILE,
    ENDED_FILE,
    OUTS,
    REQUEUED_FILE,
    STOP_FILE,
    read_ended,
)
from capillary.places.slurm.execute import SlurmPlace
from capillary.places.slurm.submitted import BUNDLE_FILE
from capillary.planning.plan import StagePlan
from stages.common.atomic import atomic_write
from stages.common.errors import CapillaryError, DamagedError, ExitCode, UsageError
from stages.common.program.messages import get_logger
from stages.common.tracking.address import VARIABLE

log = get_logger(__name__)

ID_FILE = "mailboxes"
LOOK_S = 5.0


class ApartPlace(SlurmPlace):
    """Runs the plans of one stage as jobs on nodes that share no disk with this machine."""

    def execute(self, plan: StagePlan, stop: Stop, publish: Callable[[Path], None]) -> int:
        """As SlurmPlace. The mailbox of a job that is over is removed with its folder."""
        folder, code = job_folder(plan), ExitCode.UNEXPECTED.value
        try:
            code = super().execute(plan, stop, publish)
        finally:
            if not folder.exists():
                with contextlib.suppress(CapillaryError):  # a mailbox that stays harms nobody
                    patiently(lambda: Remote(plan.root).forget(box_of(folder), keep=STATE if code else ""))
        return code

    def variables(self) -> Mapping[str, str]:
        """With those of the project's .env, which no node can read."""
        return self._settings.variables

    def catch_up(self, plan: StagePlan, folder: Path) -> None:
        """Fetch what the job of a former head has left: Slurm calls it over, and only the mailbox has its result."""
        if (folder / BUNDLE_FILE).is_file():
            mirror = Mirror(plan, folder)
            try:
                mirror.catch_up()
            finally:
                mirror.close()

    def follower(self, plan: StagePlan, folder: Path) -> Follower:
        """What copies the files that a job leaves in the remote into `folder`."""
        return Mirror(plan, folder)

    def write(self, plan: StagePlan, folder: Path) -> list[Job]:
        """Write the job, its bundle, and send the deps that DVC's cache has."""
        _refuse_embedded_store(plan)
        jobs = super().write(plan, folder)
        remote = Remote(plan.root)
        fetched, carried = {}, {}
        for dep in (dep for job in jobs for dep in job.deps):
            if dep.host is None or dep.host.is_relative_to(folder):
                continue
            if remote.has(dep.hash):
                fetched[_inside(dep.name)] = dep.hash
            else:
                carried[_inside(dep.name)] = dep.host
        patiently(lambda: remote.push(sorted(set(fetched.values()))))
        patiently(lambda: remote.forget(box_of(folder), keep=STATE))  # of a former job
        apart = Apart(box=box_of(folder), root=plan.root, folder=folder, fetched=fetched)
        (folder / BUNDLE_FILE).write_bytes(pack(apart, _config_of(remote), carried))
        return jobs


class Mirror(Follower):
    """Brings what a job leaves in the remote into its folder, as if the node had written there, and the head's word to
    the node.
    """

    def __init__(self, plan: StagePlan, folder: Path) -> None:
        super().__init__(folder, plan.repository, plan.address)
        self._plan, self._folder, self._box = plan, folder, box_of(folder)
        self._remote = Remote(plan.root)
        self._looked_s = 0.0
        self._told = False
        self._silence = ""

    def pump(self) -> None:
        """Check the remote from time to time. If it does not answer now, it may later."""
        if time.monotonic() - self._looked_s >= LOOK_S:
            try:
                self._look()
                self._silence = ""
            except (OSError, DvcException) as error:
                self._tell_silence(silence_words(error))
            self._looked_s = time.monotonic()
        super().pump()

    def _tell_silence(self, words: str) -> None:
        """Once: an outage may last for days, and each look would print a line."""
        if words != self._silence:
            log.warning(f"{words}; the job keeps running, and this command waits")
        self._silence = words

    def catch_up(self) -> None:
        """Check the remote now. Raises ServiceError if it does not answer for minutes."""
        patiently(self._look)

    def tell_to_end(self) -> None:
        """Ask the node to end its job. Where that fails, the job returns to the queue and is asked there."""
        try:
            self._remote.write(self._box, STOP_FILE, b"")
            self._told = True
        except (OSError, DvcException) as error:
            log.warning(f"{silence_words(error)}; Ctrl-C again cancels the job at once")

    def _look(self) -> None:
        if (self._folder / STOP_FILE).exists() and not self._told:
            self.tell_to_end()
        number = 1
        while (found := self._read(f"{ATTEMPTS}/{number}.json")) is not None:
            self._take(f"{ATTEMPTS}/{number}.json", found)
            number += 1
        self._take_log(number - 1)
        if (requeued := self._read(REQUEUED_FILE)) is not None:
            self._take(REQUEUED_FILE, requeued)
        if read_ended(self._folder) is None and (ended := self._read(ENDED_FILE)) is not None:
            self._take_results()
            if (note := self._read(CIRCUMSTANCES_FILE, MOST_NOTE_BYTES)) is not None:
                self._take(CIRCUMSTANCES_FILE, note)
            self._take(ENDED_FILE, ended)

    def _take_log(self, attempts: int) -> None:
        """The logs of all attempts, one after the other."""
        logs = [self._read(f"{LOG_FILE}-{number}") or b"" for number in range(1, attempts + 1)]
        text, log = b"".join(logs), self._folder / LOG_FILE
        known = log.stat().st_size if log.exists() else 0
        if len(text) > known:
            with log.open("ab") as stream:
                stream.write(text[known:])

    def _take_results(self) -> None:
        hashes = self._hashes()
        ready, outs = self._folder / f".{OUTS}", self._folder / OUTS
        if hashes:
            self._remote.pull(sorted(set(hashes.values())))
            for former in (ready, outs):  # of a look that was cut short: without ended.json nobody has used them
                shutil.rmtree(former, ignore_errors=True)
            for name, digest in hashes.items():
                restore(self._remote.cache, digest, ready / name)
            ready.rename(outs)
        order = self._plan.order
        for name, place in ((OUTBOX, order.outbox), (RECEIPTS, order.receipts)):
            if place is not None and (content := self._read(name, MOST_ARCHIVE_BYTES)) is not None:
                untar(content, place)

    def _hashes(self) -> dict[str, str]:
        """The hash of each out by its name, checked because nodes are not trusted."""
        content = self._read(OUTS_LIST) or b"{}"
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = content
        if not isinstance(found, dict) or not found.keys() <= set(self._plan.outs):
            raise DamagedError(
                f"the list of outs that the job of {self._plan.address} left cannot be read",
                value=str(found)[:200],
                remedy=f"remove {self._folder} and repeat the command",
            )
        return {str(name): str(digest) for name, digest in found.items()}

    def _read(self, name: str, most_bytes: int = MOST_BYTES) -> bytes | None:
        return self._remote.read(self._box, name, most_bytes)

    def _take(self, name: str, content: bytes) -> None:
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        ready = file.with_name(f".{file.name}.tmp")
        ready.write_bytes(content)
        ready.replace(file)


def box_of(folder: Path) -> str:
    """The name of the mailbox of the job in `folder`: no other project that uses the remote has it."""
    file = folder.parents[1] / ID_FILE
    if not file.is_file():
        with atomic_write(file) as stream:
            stream.write(secrets.token_hex(8).encode())
    return f"{folder.name}-{file.read_text()}"


def tell_to_end(repository: Path, folder: Path) -> None:
    """Let the job in `folder`, which cannot look there, know that it is to end and not to run again."""
    Remote(repository).write(box_of(folder), STOP_FILE, b"")


def _config_of(remote: Remote) -> str:
    """.dvc/config of the project on the node."""
    lines = "".join(f"    {key} = {value}\n" for key, value in remote.config().items())
    core = f"[core]\n    no_scm = true\n    analytics = false\n    remote = {remote.name}\n"
    return f"{core}['remote \"{remote.name}\"']\n{lines}"


def _inside(name: str) -> str:
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise UsageError(
            f"{name} is outside the project, and a node without a shared disk cannot have it",
            file="dvc.yaml",
            remedy="move it into the project, or let the stage run on this machine (`stages` in configs/slurm.yaml)",
        )
    return name


def _refuse_embedded_store(plan: StagePlan) -> None:
    if plan.environment.get(VARIABLE, "").startswith("sqlite:"):
        raise UsageError(
            f"{plan.stage} keeps its runs in mlruns/, which a node without a shared disk cannot reach",
            remedy="set MLFLOW_TRACKING_URI to a server that the nodes reach (docs/tracking.md)",
        )
