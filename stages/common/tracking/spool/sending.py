"""A spool into a server: everything once, in order, whatever was interrupted before.

MLflow stores a point of equal key, step, time and value once, so that a batch whose answer was lost is sent again. A
run that another process began is asked for the steps that it has, which also holds on servers that store points twice.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from stages.common.errors import CapillaryError, ServiceError
from stages.common.program.messages import get_logger
from stages.common.text import visible
from stages.common.tracking.artifact_store import refuse_other_server
from stages.common.tracking.receipts import Receipt, write_receipt
from stages.common.tracking.server import RefusedError, redact, settled, uploads
from stages.common.tracking.spool.batches import batches, slices
from stages.common.tracking.spool.destination import Destination
from stages.common.tracking.spool.folder import FILES, PUBLISH, Sent, Spool
from stages.common.tracking.spool.plain import copy_plain
from stages.common.tracking.spool.records import (
    FileRecord,
    ParamsRecord,
    PointsRecord,
    PublishRecord,
    Record,
    StatusRecord,
    TagsRecord,
)
from stages.common.tracking.spool.server_run import RECORD_TAG, ServerRuns

log = get_logger(__name__)

FAILURE_TAG = "capillary.failure"
CALL_PATIENCE_S = 5.0  # for an outage of moments; a longer one is the caller's
OWNER_S = 60.0  # how often a run is asked whose it is: another disk with the same work may have taken it
MOST_FILE_BYTES = 1 << 30
ANSWER_PATIENCE_S = 30.0  # without an answer; a file has longer, by its size
SLOWEST_BYTES_PER_S = 1e6
PREPARING_S = 120.0  # a network is made into an MLflow model first, which a busy machine takes minutes for
Item = TypeVar("Item")


class Sending:
    """The way of one spool to one server. `answered` is called with the patience that the next answer may need."""

    def __init__(
        self,
        spool: Spool,
        destination: Destination,
        answered: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool, self._to, self._server = spool, destination, destination.server
        self._answered = answered
        self._runs = ServerRuns(spool, self._server, destination.artifact_root, self._call)
        self._sent = spool.sent(self._server.uri)
        self._run: Run | None = None
        self._clock, self._asked_at = clock, 0.0
        self._known_params: set[str] = set()
        self._keys_there: set[str] = set()
        self._steps_there: dict[str, set[int]] = {}

    @property
    def run_id(self) -> str:
        """The server's run, empty as long as there is none."""
        return self._sent.run_id

    @property
    def refused(self) -> int:
        """How many records the server will never take."""
        return self._sent.refused

    def attach(self) -> None:
        """Find the run or create it; now and then see that it is still this spool's. Raises ServiceError."""
        if self._run is not None and self._clock() < self._asked_at + OWNER_S:
            return
        former = self._sent.run_id
        known = self._runs.known(former) if former else None
        self._asked_at = self._clock()
        if known is not None and self._run is not None:
            return
        self._run = None
        if known is None and self._sent != Sent():
            self._note(Sent())
        self._take(known or self._runs.find(but=former))

    def send(self) -> None:
        """Send what the server does not have yet. Raises ServiceError; what was sent so far stays noted."""
        self.attach()
        for records, end in batches(self._spool.records(self._sent.offset)):
            refused = self._deliver(records)
            self._note(replace(self._sent, offset=end, refused=self._sent.refused + refused))

    def _deliver(self, records: Sequence[Record | None]) -> int:
        """Send `records`, which are points, or one of another kind; how many will never be taken."""
        try:
            return self._send(records)
        except _UnsendableError as error:
            log.warning(f"left out of the MLflow run: {error}")
            return len(records)
        except RefusedError as error:
            if not _will_never_be_taken(error) or isinstance(records[0], PublishRecord):
                raise
            self._refuse_a_lost_run(error)
            log.warning(f"left out of the MLflow run: {error.what} ({error.value})")
            return len(records)

    def _refuse_a_lost_run(self, error: RefusedError) -> None:
        """Raise `error` where the run itself is gone: the next attempt begins in a new one."""
        if self._runs.known(self.run_id) is None:
            self._run = None
            self._note(Sent())
            raise error

    def _send(self, records: Sequence[Record | None]) -> int:
        first = records[0]
        if first is None:
            raise _UnsendableError(f"a damaged line in {self._spool.folder}")
        if isinstance(first, PointsRecord):
            return self._send_points([one for one in records if isinstance(one, PointsRecord)])
        return self._send_other(first)

    def _send_points(self, records: Sequence[PointsRecord]) -> int:
        points = [
            Metric(key, value, record.time_ms, record.step)
            for record in records
            for key, value in record.values.items()
            if record.step not in self._steps(key)
        ]
        return sum(self._log("metrics", batch) for batch in slices(points))

    def _log(self, kind: str, items: Sequence[Metric | Param | RunTag]) -> int:
        """Log `items` (metrics, params or tags); how many are left out, because the server will never take them.

        A server refuses a whole batch for one of them, so that halves of it are tried.
        """
        try:
            batch: dict[str, Any] = {kind: items}
            self._call(f"log {kind}", partial(self._server.client.log_batch, self.run_id, **batch))
            return 0
        except RefusedError as error:
            if not _will_never_be_taken(error):
                raise
            self._refuse_a_lost_run(error)
            if len(items) > 1:
                middle = len(items) // 2
                return self._log(kind, items[:middle]) + self._log(kind, items[middle:])
            name = items[0].key[:100]
            log.warning(f"left out of the MLflow run: {visible(name)}, because {error.what} ({error.value})")
            return 1

    def _steps(self, key: str) -> set[int]:
        """The steps of `key` that the run had when it was found."""
        if key not in self._keys_there:
            return set()
        if key not in self._steps_there:
            found = self._call("list points", partial(self._server.client.get_metric_history, self.run_id, key))
            self._steps_there[key] = {metric.step for metric in found}
        return self._steps_there[key]

    def _send_other(self, record: Record) -> int:
        """Send `record`; how much of it will never be taken."""
        if isinstance(record, ParamsRecord):
            return self._send_params(record.values)
        if isinstance(record, TagsRecord):
            return self._send_tags(record.values)
        if isinstance(record, FileRecord):
            self._send_file(record)
        elif isinstance(record, PublishRecord):
            self._publish(record)
        elif isinstance(record, StatusRecord):
            self._set_status(record)
        return 0

    def _send_params(self, values: Mapping[str, str]) -> int:
        new = [Param(key, text) for key, text in values.items() if key not in self._known_params]
        return sum(self._log("params", batch) for batch in slices(new))

    def _send_tags(self, values: Mapping[str, str]) -> int:
        tags = [RunTag(name, text) for name, text in values.items()]
        return sum(self._log("tags", batch) for batch in slices(tags))

    def _send_file(self, record: FileRecord) -> None:
        """Upload a copy: the file may lie in a folder to which another stage writes."""
        name = f"{FILES}/{record.to}/{record.name}"
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / record.name
            try:
                copy_plain(self._spool.folder, name, copy, MOST_FILE_BYTES)
            except (FileNotFoundError, NotADirectoryError, ValueError) as error:
                raise _UnsendableError(f"{self._spool.folder / name} ({error})") from error
            self._answered(patience_for(copy.stat().st_size))
            log = partial(self._server.client.log_artifact, self.run_id, str(copy), record.to)
            with uploads(), settled(self._server):
                self._call("take an upload", partial(_as_service_error, log, record.name))

    def _publish(self, record: PublishRecord) -> None:
        folder = self._spool.folder / PUBLISH / record.folder
        publisher = self._to.publishers.get(record.publisher)
        if publisher is None or folder.is_symlink() or folder.parent.is_symlink() or not folder.is_dir():
            raise _UnsendableError(f"{folder} ({record.publisher})")
        self._to.first(self._to, folder, self._answered)
        sizes = sum(file.lstat().st_size for file in folder.iterdir())
        self._answered(PREPARING_S + patience_for(sizes))
        published = _as_service_error(partial(publisher, self._server, self.run_id, folder), record.publisher)
        self._answered(ANSWER_PATIENCE_S)
        receipt = Receipt(
            run_id=self.run_id,
            name=published.name,
            version=published.version,
            weights_sha256=published.weights_sha256,
        )
        write_receipt(self._to.receipts, published.fingerprint, self._server.uri, receipt)

    def _set_status(self, record: StatusRecord) -> None:
        client = self._server.client
        if record.status == "RUNNING":
            self._call("continue a run", lambda: client.update_run(self.run_id, status="RUNNING"))
            # refused where it is gone, and by a server that knows no deletion: neither is a reason to stop
            with suppress(RefusedError):
                self._call("delete a tag", lambda: client.delete_tag(self.run_id, FAILURE_TAG))
            return
        if record.reason:
            self._send_tags({FAILURE_TAG: record.reason})
        end = partial(client.set_terminated, self.run_id, record.status, end_time=record.time_ms)
        self._call("end a run", end)

    def _take(self, found: Run | None) -> None:
        run = found or self._runs.create()
        self._call("say where files go", partial(refuse_other_server, run.info.artifact_uri or "", self._server))
        if found is not None and found.info.run_id != self._sent.run_id:
            log.info(f"continuing MLflow run {found.info.run_id}")
        self._run, self._known_params = run, set(run.data.params)
        self._keys_there, self._steps_there = set(run.data.metrics), {}
        if run.data.tags.get(RECORD_TAG) != self._spool.head.id:
            tag = [RunTag(RECORD_TAG, self._spool.head.id)]
            self._call("tag a run", partial(self._server.client.log_batch, run.info.run_id, tags=tag))
        if run.info.run_id != self._sent.run_id:
            self._note(Sent(run_id=run.info.run_id))

    def _call(self, what: str, ask: Callable[[], Item]) -> Item:
        answer = self._server.call(what, ask, CALL_PATIENCE_S)
        self._answered(ANSWER_PATIENCE_S)
        return answer

    def _note(self, sent: Sent) -> None:
        self._sent = sent
        # on a full disk it is known to this process alone, and what is sent again by the next one does no harm
        with suppress(OSError):
            self._spool.note_sent(self._server.uri, sent)


class _UnsendableError(Exception):
    """What is in the spool cannot be sent to any server."""


def patience_for(size_bytes: int) -> float:
    """How long a transfer of so many bytes may take."""
    return ANSWER_PATIENCE_S + size_bytes / SLOWEST_BYTES_PER_S


def _as_service_error(ask: Callable[[], Item], what: str) -> Item:
    """What `ask` gives. A store of files has its own errors, by its maker: they are a server's failure as well."""
    try:
        return ask()
    except (CapillaryError, MlflowException, OSError):
        raise
    except Exception as error:
        raise ServiceError(
            f"{what} could not be stored: {type(error).__name__}",
            remedy="check the artifact store of the MLflow server and its keys (ARTIFACTS_AWS_…)",
            value=visible(redact(str(error))[:500]),
        ) from error


def _will_never_be_taken(error: RefusedError) -> bool:
    return error.is_about_content or error.is_unknown
