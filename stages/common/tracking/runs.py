"""One MLflow run of one stage: written to a spool on this disk first, sent by a thread, continued after a kill.

No server can stop or slow a stage: what it does not take now waits, until the end of the stage or `capillary sync`.
Only MlflowClient is used, never the fluent API: that one looks for a Git repository, which a stage cannot see.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from stages.common.errors import CapillaryError, ExitCode, ServiceError, machine_error
from stages.common.program.messages import get_logger
from stages.common.runtime import Runtime
from stages.common.text import visible
from stages.common.tracking.publishing import PUBLISHERS, Publisher
from stages.common.tracking.server import RefusedError, connect, redact
from stages.common.tracking.spool.destination import Destination, First, nothing_first
from stages.common.tracking.spool.opening import RunRequest, open_spool
from stages.common.tracking.spool.sender import Outcome, Sender
from stages.common.tracking.spool.writing import Writer, now_ms
from stages.common.tracking.stopping import stop_asked
from stages.common.tracking.system_metrics import ARTIFACT_FOLDER, SystemSampler

log = get_logger(__name__)

START_PATIENCE_S = 20.0
FAILED_PATIENCE_S = 10.0
INTERRUPTED_PATIENCE_S = 5.0  # of the grace that an interrupted stage has, half is for its checkpoint
MAX_PARAM_CHARACTERS = 500  # of MLflow 2.7, the oldest server; later ones take 6000


def open_run(
    runtime: Runtime,
    *,
    cell_tags: Mapping[str, str],
    run_name: str,
    run_id: str | None = None,
    system_metrics: bool = True,
    load_file: Path | None = None,
    stopped: Callable[[], bool] | None = None,
    publishers: Mapping[str, Publisher] = PUBLISHERS,
    first: First = nothing_first,
) -> "TrackedRun":
    """The record of this stage and fingerprint: continued when there is one that did not finish, else begun.

    `cell_tags` are this cell's own, such as {"loss": "dice_ce", "fold": "0"}; they become capillary.loss and so on.
    `run_id`, from a checkpoint, wins over the search. A stage started by hand has no fingerprint, so it continues by
    `run_id` only. `load_file` collects what `system_metrics` samples, and is logged when the run finishes. `stopped`
    says whether somebody asked to stop, where the caller hears the signals itself. `publishers` are those of what the
    stage may publish; `first` is done before each of them.
    Under CAPILLARY_TRACKING=required raises ServiceError when the server does not take the run.
    """
    to = destination(runtime, publishers, first)  # an embedded store that is damaged is refused before anything begins
    spool, lock = open_spool(runtime.outbox, _wanted(runtime, cell_tags, run_name, run_id), now_ms())
    sender = None if to is None else Sender(spool, to)
    run = TrackedRun(runtime, Writer(spool, lock, sender.added if sender else _nobody), sender, stopped)
    if run.continued:
        run.writer.add_status("RUNNING")
    if sender is not None:
        sender.start()
    if sender is not None and runtime.tracking == "required":
        run.require_server(sender)
    interval_s = runtime.monitoring.interval_s
    if system_metrics and interval_s is not None:
        run.sampler = SystemSampler(run.writer, interval_s=interval_s, file=load_file)
    return run


def destination(
    runtime: Runtime, publishers: Mapping[str, Publisher] = PUBLISHERS, first: First = nothing_first
) -> Destination | None:
    """Where a run is sent to; None if nobody is to be asked. The embedded store is a file, which is always there."""
    if runtime.tracking == "offline" and not runtime.is_embedded:
        return None
    return Destination(
        server=connect(runtime),
        artifact_root=runtime.artifact_root,
        receipts=runtime.receipts,
        publishers=publishers,
        first=first,
    )


class TrackedRun:
    """The record of a run. A point (key, step) is kept once, however often the stage was killed and resumed.

    As a context it ends FINISHED, KILLED when the user or a signal interrupted it, or FAILED with the reason.
    """

    def __init__(
        self, runtime: Runtime, writer: Writer, sender: Sender | None, stopped: Callable[[], bool] | None
    ) -> None:
        self._runtime, self.writer, self._sender, self._stopped = runtime, writer, sender, stopped
        self.continued = writer.spool.size > 0
        self.sampler: SystemSampler | None = None

    @property
    def id(self) -> str:
        """The record's own id, by which a checkpoint names it; also a tag of the server's run."""
        return self.writer.spool.head.id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if error is None:
            self.finish()
        elif isinstance(error, CapillaryError) and error.code in {ExitCode.INTERRUPTED, ExitCode.TERMINATED}:
            self._end_early("KILLED", INTERRUPTED_PATIENCE_S)
        elif isinstance(error, Exception):
            self.fail(error.what if isinstance(error, CapillaryError) else repr(error))
        else:
            self._end_early("KILLED", INTERRUPTED_PATIENCE_S)

    def require_server(self, sender: Sender) -> None:
        """Raise ServiceError unless the server has the run soon."""
        with stop_asked(self._stopped) as stopped:
            outcome = sender.settle(
                lambda: stopped() or isinstance(sender.failure, RefusedError),
                most_s=START_PATIENCE_S,
                enough=lambda: sender.attached,
            )
        if not outcome.is_sent:
            self._leave()
            raise _required("nothing was started", self._place(), outcome)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log `params` as strings; those that the run has already are left alone, with a notice if they differ."""
        texts = {key: _short(key, visible(str(value))) for key, value in params.items()}
        for key in texts.keys() & self.writer.params.keys():
            if texts[key] != self.writer.params[key]:
                log.warning(
                    f"MLflow keeps param {key} = {self.writer.params[key]} from the start of the run; it is now "
                    f"{texts[key]}"
                )
        self.writer.add_params(texts)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set `tags`, over those that the run has: what holds for the part of it that runs now."""
        self.writer.add_tags(tags)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log one point a key at `step`, unless it is there."""
        self.writer.add_points(metrics, step, now_ms())

    def backfill(self, history: Mapping[int, Mapping[str, float]]) -> None:
        """Log those points of `history` (step → key → value, from a checkpoint) that the record does not have."""
        for step, metrics in sorted(history.items()):
            self.log_metrics(metrics, step)

    def log_file(self, file: Path, folder: str) -> None:
        """Log a copy of `file` as an artifact in `folder`."""
        self.writer.add_file(file, folder)

    def publish(self, publisher: str, files: Mapping[str, bytes]) -> None:
        """Hand `files` to the publisher of that name (publishing.py), now or later; the same ones again do nothing.

        Raises CapillaryError when the disk has no room: then they would be nowhere.
        """
        try:
            self.writer.add_publication(publisher, files)
        except OSError as error:
            raise machine_error(error) or error from error

    def finish(self) -> None:
        """Mark the run FINISHED and wait until the server has it, as long as it answers and nobody asks to stop.

        What is not sent waits. Under CAPILLARY_TRACKING=required that raises ServiceError.
        """
        self._stop_sampler()
        if self.sampler is not None and self.sampler.file is not None and self.sampler.file.exists():
            self.log_file(self.sampler.file, ARTIFACT_FOLDER)
        self.writer.add_status("FINISHED")
        with stop_asked(self._stopped) as stopped:
            outcome = self._sender.settle(stopped) if self._sender else Outcome(is_sent=False)
        unkept = self.writer.unkept
        self._leave()
        if self._runtime.tracking == "required" and unkept:
            raise self._lost(unkept)
        if self._runtime.tracking == "required" and not outcome.is_sent:
            raise _required("the work is done and kept, but not published", self._place(), outcome)
        if unkept:
            log.warning(
                f"{self._lost(unkept).what}. {'The rest is published' if outcome.is_sent else self._waits(outcome)}"
            )
        elif outcome.is_sent and self._sender is not None:
            self.writer.spool.remove()
        else:
            log.warning(self._waits(outcome))

    def _lost(self, unkept: int) -> ServiceError:
        folder = self.writer.spool.folder
        return ServiceError(
            f"the work is done, but {unkept} records of its run are lost, because the disk of {folder} is full",
            remedy="free space on this disk, then repeat: what was trained is not trained again",
        )

    def fail(self, reason: str) -> None:
        """Mark the run FAILED and keep `reason` as a tag. Never raises: the user must see the failure itself."""
        self._end_early("FAILED", FAILED_PATIENCE_S, visible(redact(reason))[:MAX_PARAM_CHARACTERS])

    def _end_early(self, status: str, patience_s: float, reason: str = "") -> None:
        """No longer than a moment: somebody waits for the end, or for the words of the failure."""
        self._stop_sampler()
        self.writer.add_status(status, reason)
        if self._sender is not None:
            self._sender.settle(_never, most_s=patience_s)
        self._leave()

    def _leave(self) -> None:
        self.writer.close()
        if self._sender is not None:
            self._sender.close()

    def _stop_sampler(self) -> None:
        if self.sampler is not None:
            self.sampler.stop()

    def _place(self) -> str:
        return f"MLflow at {redact(self._runtime.tracking_uri)}"

    def _waits(self, outcome: Outcome) -> str:
        folder = self.writer.spool.folder
        if self._sender is None:
            return f"done; its record is kept in {folder} (CAPILLARY_TRACKING=offline): `capillary sync` publishes it"
        why = outcome.failure.what if outcome.failure is not None else f"{self._place()} does not accept it in time"
        return f"done, and kept in {folder}, because {why}: `capillary sync` publishes it"


def _wanted(runtime: Runtime, cell_tags: Mapping[str, str], run_name: str, run_id: str | None) -> RunRequest:
    named = {"capillary.experiment": visible(runtime.experiment_name)} if runtime.experiment_name else {}
    return RunRequest(
        stage=runtime.stage,
        fingerprint=runtime.fingerprint,
        identity={
            "capillary.stage": runtime.stage,
            "capillary.fingerprint": runtime.fingerprint,
            # a server is asked for them in quotes
            **{f"capillary.{name}": visible(str(value)).replace("'", "’") for name, value in cell_tags.items()},
        },
        tags={
            "capillary.data_fingerprint": runtime.data_fingerprint,
            "capillary.code_fingerprint": runtime.code_fingerprint,
            **named,
        },
        run_name=run_name,
        id=run_id,
    )


def _required(what: str, place: str, outcome: Outcome) -> ServiceError:
    failure = outcome.failure
    return ServiceError(
        f"{what}: {failure.what if failure else f'{place} does not answer in time'} (CAPILLARY_TRACKING=required)",
        remedy=f"{failure.remedy if failure else 'start the server'}; then repeat: finished trainings do not run "
        "again. CAPILLARY_TRACKING=auto trains without a server",
        value=failure.value if failure else None,
    )


def _short(key: str, text: str) -> str:
    if len(text) <= MAX_PARAM_CHARACTERS:
        return text
    log.warning(f"MLflow param {key} is cut to {MAX_PARAM_CHARACTERS} of its {len(text)} characters")
    return text[:MAX_PARAM_CHARACTERS]


def _never() -> bool:
    return False


def _nobody() -> None:
    """Nobody sends: the spool waits for `capillary sync`."""
