"""The run that a server makes of a spool: found again by the record's id, continued from a lost record, or made.

A server is shared, and what a spool says of it is a claim: a run that lies in another experiment, or that belongs to
another record, is never written to.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from stages.common.errors import ServiceError
from stages.common.program.messages import get_logger
from stages.common.tracking.address import EXPERIMENT, restore_command
from stages.common.tracking.server import RefusedError, Server, redact
from stages.common.tracking.spool.folder import Spool
from stages.common.tracking.spool.listing import spools_in

log = get_logger(__name__)

RECORD_TAG = "capillary.record"  # on a run: the id of the spool that it was made from
_MOST_FOUND = 100
Item = TypeVar("Item")


class Call(Protocol):
    """A question to the server; raises ServiceError."""

    def __call__(self, what: str, ask: Callable[[], Item]) -> Item:
        """The answer."""


class ServerRuns:
    """The runs at `server` as far as they concern `spool`. `artifact_root` is for a store that is a file."""

    def __init__(self, spool: Spool, server: Server, artifact_root: str | None, call: Call) -> None:
        self._spool, self._server, self._artifact_root, self._call = spool, server, artifact_root, call
        self._experiment_id = ""

    def known(self, run_id: str) -> Run | None:
        """The run that this spool was sent to before; None where it is gone or is not this spool's."""
        try:
            run = self._call("find a run", lambda: self._server.client.get_run(run_id))
        except RefusedError as error:
            if not (error.is_unknown or error.is_about_content):
                raise
            run = None
        if run is None or run.info.lifecycle_stage == "deleted":
            log.warning(f"MLflow at {redact(self._server.uri)} does not have the run {run_id} any more")
            return None
        if run.data.tags.get(RECORD_TAG) != self._spool.head.id or run.info.experiment_id != self._experiment():
            log.warning(f"the run {run_id} at {redact(self._server.uri)} belongs to another record: it is left alone")
            return None
        return run

    def find(self, but: str = "") -> Run | None:
        """The run of this spool, or of one that is gone and recorded the same work; never the run `but`."""
        head = self._spool.head
        if found := self._search(_condition({RECORD_TAG: head.id})):
            return found[0]
        if head.is_by_hand:
            return None
        # of a spool that is gone, on this disk or another one
        unfinished = self._search(f"{_condition(head.identity)} and attributes.status != 'FINISHED'")
        here = {spool.head.id for spool in spools_in(self._spool.folder.parent)}
        lost = (run for run in unfinished if run.data.tags.get(RECORD_TAG) not in here and run.info.run_id != but)
        return next(lost, None)

    def create(self) -> Run:
        """A new run."""
        head, experiment = self._spool.head, self._experiment()

        def find_or_create() -> Run:  # looked for at each attempt: the answer to the one before may have been lost
            wanted = _condition({RECORD_TAG: head.id})
            found = self._server.client.search_runs([experiment], wanted, max_results=1)
            if found:
                return found[0]
            tags = {**head.tags, RECORD_TAG: head.id}
            return self._server.client.create_run(
                experiment, start_time=head.started_ms, tags=tags, run_name=head.run_name
            )

        return self._call("open a run", find_or_create)

    def _search(self, wanted: str) -> list[Run]:
        """The newest first."""
        ask = partial(
            self._server.client.search_runs,
            [self._experiment()],
            wanted,
            max_results=_MOST_FOUND,
            order_by=["attributes.start_time DESC"],
        )
        return list(self._call("search its runs", ask))

    def _experiment(self) -> str:
        """The id of the experiment of all runs, which is made where there is none."""
        if not self._experiment_id:
            self._experiment_id = self._call("answer", self._find_or_create_experiment)
        return self._experiment_id

    def _find_or_create_experiment(self) -> str:
        client, uri = self._server.client, self._server.uri
        known = client.get_experiment_by_name(EXPERIMENT)
        if known is not None and known.lifecycle_stage == "deleted":
            raise ServiceError(
                f"the MLflow experiment {EXPERIMENT} at {redact(uri)} is deleted",
                remedy=f"restore it: {restore_command(uri, known.experiment_id)}",
            )
        if known is not None:
            return str(known.experiment_id)
        try:
            return str(client.create_experiment(EXPERIMENT, artifact_location=self._artifact_root))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another cell was first
                raise
            return self._find_or_create_experiment()


def _condition(tags: Mapping[str, str]) -> str:
    return " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
