"""A spool into a server: everything once, in order, whatever was interrupted before.

MLflow stores a point of equal key, step, time and value once, so that a batch whose answer was lost is sent again. A
run that another process began is asked for the steps that it has, which also holds on servers that store points twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from stages.common.errors import CapillaryError, ServiceError
from stages.common.progress import say
from stages.common.text import visible
from stages.common.tracking.address import EXPERIMENT, restore_command
from stages.common.tracking.receipts import Receipt, write_receipt
from stages.common.tracking.server import RefusedError, Server, redact, settled, uploads
from stages.common.tracking.spool.folder import FILES, PUBLISH, Sent, Spool
from stages.common.tracking.spool.listing import spools_in
from stages.common.tracking.spool.records import (
    FileRecord,
    ParamsRecord,
    PointsRecord,
    PublishRecord,
    Record,
    StatusRecord,
    TagsRecord,
)

RECORD_TAG = "capillary.record"  # on a run: the id of the spool that it was made from
FAILURE_TAG = "capillary.failure"
MAX_BATCH = 100  # of params; metrics may be more
CALL_PATIENCE_S = 5.0  # for an outage of moments; a longer one is the caller's
ANSWER_PATIENCE_S = 30.0  # without an answer; a file has longer, by its size
SLOWEST_BYTES_PER_S = 1e6
PREPARING_S = 120.0  # a network is made into an MLflow model first, which a busy machine takes minutes for
Item = TypeVar("Item")


class Published(Protocol):
    """What a publisher returns (publishing.py)."""

    @property
    def fingerprint(self) -> str:
        """Of what was published."""

    @property
    def name(self) -> str:
        """The registered model."""

    @property
    def version(self) -> str:
        """Its number, empty if the server has no registry."""

    @property
    def weights_sha256(self) -> str:
        """Of the network, empty if it is none."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a spool is sent. `artifact_root` is for a store that is a file; `publishers` are publishing.py's."""

    server: Server
    artifact_root: str | None
    receipts: Path
    publishers: Mapping[str, Callable[[Server, str, Path], Published]]


class Sending:
    """The way of one spool to one server. `answered` is called with the patience that the next answer may need."""

    def __init__(self, spool: Spool, destination: Destination, answered: Callable[[float], None]) -> None:
        self._spool, self._to, self._server = spool, destination, destination.server
        self._answered = answered
        self._sent = spool.sent(self._server.uri)
        self._run: Run | None = None
        self._experiment_id = ""
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
        """Find the run or create it. Raises ServiceError."""
        if self._run is None:
            self._take(self._find())

    def send(self) -> None:
        """Send what the server does not have yet. Raises ServiceError; what was sent so far stays noted."""
        self.attach()
        for records, end in batches(self._spool.records(self._sent.offset)):
            refused = self._deliver(records)
            self._note(replace(self._sent, offset=end, refused=self._sent.refused + refused))

    def _deliver(self, records: Sequence[Record | None]) -> int:
        """Send `records`, which are points, or one of another kind; how many will never be taken."""
        try:
            self._send(records)
        except _UnsendableError as error:
            say(f"left out of the MLflow run: {error}")
            return len(records)
        except RefusedError as error:
            if not (error.is_about_content or error.is_unknown) or isinstance(records[0], PublishRecord):
                raise
            if self._known_run() is None:
                self._run = None
                self._note(Sent())
                raise  # the next attempt begins in a new run
            say(f"left out of the MLflow run: {error.what} ({error.value})")
            return len(records)
        return 0

    def _send(self, records: Sequence[Record | None]) -> None:
        first = records[0]
        if first is None:
            raise _UnsendableError(f"a damaged line in {self._spool.folder}")
        if isinstance(first, PointsRecord):
            self._send_points([one for one in records if isinstance(one, PointsRecord)])
        else:
            self._send_other(first)

    def _send_points(self, records: Sequence[PointsRecord]) -> None:
        points = [
            Metric(key, value, record.time_ms, record.step)
            for record in records
            for key, value in record.values.items()
            if record.step not in self._steps(key)
        ]
        for batch in _slices(points):
            self._call("log metrics", partial(self._server.client.log_batch, self.run_id, metrics=batch))

    def _steps(self, key: str) -> set[int]:
        """The steps of `key` that the run had when it was found."""
        if key not in self._keys_there:
            return set()
        if key not in self._steps_there:
            found = self._call("list points", partial(self._server.client.get_metric_history, self.run_id, key))
            self._steps_there[key] = {metric.step for metric in found}
        return self._steps_there[key]

    def _send_other(self, record: Record) -> None:
        if isinstance(record, ParamsRecord):
            self._send_params(record.values)
        elif isinstance(record, TagsRecord):
            self._send_tags(record.values)
        elif isinstance(record, FileRecord):
            self._send_file(record)
        elif isinstance(record, PublishRecord):
            self._publish(record)
        elif isinstance(record, StatusRecord):
            self._set_status(record)

    def _send_params(self, values: Mapping[str, str]) -> None:
        new = [Param(key, text) for key, text in values.items() if key not in self._known_params]
        for batch in _slices(new):
            self._call("log params", partial(self._server.client.log_batch, self.run_id, params=batch))

    def _send_tags(self, values: Mapping[str, str]) -> None:
        for batch in _slices([RunTag(name, text) for name, text in values.items()]):
            self._call("tag a run", partial(self._server.client.log_batch, self.run_id, tags=batch))

    def _send_file(self, record: FileRecord) -> None:
        file = self._spool.folder / FILES / record.to / record.name
        if file.is_symlink() or not file.is_file():
            raise _UnsendableError(f"{file} is not a plain file")
        self._answered(patience_for(file.stat().st_size))
        log = partial(self._server.client.log_artifact, self.run_id, str(file), record.to)
        with uploads(), settled(self._server):
            self._call("take an upload", partial(_as_service_error, log, file.name))

    def _publish(self, record: PublishRecord) -> None:
        folder = self._spool.folder / PUBLISH / record.folder
        publisher = self._to.publishers.get(record.publisher)
        if publisher is None or folder.is_symlink() or not folder.is_dir():
            raise _UnsendableError(f"{folder} ({record.publisher})")
        sizes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
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

    def _find(self) -> Run | None:
        """The run that this spool was sent to before, or would have been; None if there is none."""
        known = self._known_run() if self._sent.run_id else None
        if known is not None:
            return known
        if self._sent != Sent():
            self._note(Sent())
        self._experiment_id = self._experiment()
        head = self._spool.head
        found = self._search(f"tags.`{RECORD_TAG}` = '{head.id}'")
        if not found and not head.is_by_hand:
            # of a spool that is gone, on this disk or another one
            unfinished = self._search(f"{_condition(head.identity)} and attributes.status != 'FINISHED'")
            here = {spool.head.id for spool in spools_in(self._spool.folder.parent)}
            found = [run for run in unfinished if run.data.tags.get(RECORD_TAG) not in here]
        return found[0] if found else None

    def _search(self, wanted: str) -> list[Run]:
        """The newest first."""
        newest = ["attributes.start_time DESC"]
        ask = partial(
            self._server.client.search_runs, [self._experiment_id], wanted, max_results=MAX_BATCH, order_by=newest
        )
        return list(self._call("search its runs", ask))

    def _known_run(self) -> Run | None:
        try:
            run = self._call("find a run", lambda: self._server.client.get_run(self._sent.run_id))
        except RefusedError as error:
            if not (error.is_unknown or error.is_about_content):
                raise
            run = None
        if run is None or run.info.lifecycle_stage == "deleted":
            say(f"MLflow at {redact(self._server.uri)} no longer has the run {self._sent.run_id}")
            return None
        return run

    def _take(self, found: Run | None) -> None:
        run = found or self._create()
        if found is not None and found.info.run_id != self._sent.run_id:
            say(f"continuing MLflow run {found.info.run_id}")
        self._run, self._known_params = run, set(run.data.params)
        self._keys_there, self._steps_there = set(run.data.metrics), {}
        if run.data.tags.get(RECORD_TAG) != self._spool.head.id:
            tag = [RunTag(RECORD_TAG, self._spool.head.id)]
            self._call("tag a run", partial(self._server.client.log_batch, run.info.run_id, tags=tag))
        if run.info.run_id != self._sent.run_id:
            self._note(Sent(run_id=run.info.run_id))

    def _create(self) -> Run:
        head = self._spool.head
        tags = {**head.tags, RECORD_TAG: head.id}

        def find_or_create() -> Run:  # looked for at each attempt: the answer to the one before may have been lost
            wanted = f"tags.`{RECORD_TAG}` = '{head.id}'"
            found = self._server.client.search_runs([self._experiment_id], wanted, max_results=1)
            if found:
                return found[0]
            return self._server.client.create_run(
                self._experiment_id, start_time=head.started_ms, tags=tags, run_name=head.run_name
            )

        return self._call("open a run", find_or_create)

    def _experiment(self) -> str:
        client, uri = self._server.client, self._server.uri

        def ask() -> str:
            known = client.get_experiment_by_name(EXPERIMENT)
            if known is not None and known.lifecycle_stage == "deleted":
                raise ServiceError(
                    f"the MLflow experiment {EXPERIMENT} at {redact(uri)} is deleted",
                    remedy=f"restore it: {restore_command(uri, known.experiment_id)}",
                )
            if known is not None:
                return str(known.experiment_id)
            try:
                return str(client.create_experiment(EXPERIMENT, artifact_location=self._to.artifact_root))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another cell was first
                    raise
                return ask()

        return self._call("answer", ask)

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


def batches(records: Iterator[tuple[Record | None, int]]) -> Iterator[tuple[list[Record | None], int]]:
    """(records, where they end): points in a row together, up to MAX_BATCH values; anything else alone."""
    waiting: list[Record | None] = []
    values, end = 0, 0
    for record, record_end in records:
        is_points = isinstance(record, PointsRecord)
        if waiting and (not is_points or values + len(record.values) > MAX_BATCH):  # type: ignore[union-attr]
            yield waiting, end
            waiting, values = [], 0
        end = record_end
        if isinstance(record, PointsRecord):
            waiting.append(record)
            values += len(record.values)
        else:
            yield [record], end
    if waiting:
        yield waiting, end


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


def _condition(tags: Mapping[str, str]) -> str:
    return " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())


def _slices(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + MAX_BATCH] for start in range(0, len(items), MAX_BATCH))
