"""Every run of an outbox into a server. It may be interrupted and repeated, and two may do it at once."""

from collections.abc import Sequence
from pathlib import Path

from stages.common.errors import DataError, ServiceError
from stages.common.program.console import print_answer
from stages.common.program.messages import get_logger
from stages.common.registered.waiting import Result, State, publish_each
from stages.common.tracking.server import redact
from stages.common.tracking.spool.destination import Destination
from stages.common.tracking.spool.folder import Spool
from stages.common.tracking.spool.listing import foreign_in, spools_in

log = get_logger(__name__)


def sync(outbox: Path, to: Destination) -> None:
    """Publish what is in `outbox` and say what became of each run. Raises ServiceError if something still waits."""
    results = publish_all(list(spools_in(outbox)), to)
    if any(isinstance(one.failure, DataError) for one in results):
        # a training whose networks were among what came after it
        results = [one for one in results if one.failure is None] + publish_all(list(spools_in(outbox)), to)
    for folder in foreign_in(outbox):
        log.warning(f"{folder} is not a run of this version of capillary: it is left alone")
    if not results:
        print_answer("nothing waits to be published")
    counts = {state: sum(one.state is state for one in results) for state in State}
    words = [f"{count} {state}" for state, count in counts.items() if count]
    if words:
        print_answer(f"{', '.join(words)} ({redact(to.server.uri)})")
    waiting = [one for one in results if one.failure is not None]
    if waiting:
        first = waiting[0].failure
        assert first is not None
        raise ServiceError(
            f"{', '.join(one.name for one in waiting)} still wait{'s' if len(waiting) == 1 else ''}: {first.what}",
            remedy=f"{first.remedy}; then repeat `capillary sync`; nothing is lost or sent twice",
            value=first.value,
        )


def publish_all(spools: Sequence[Spool], to: Destination) -> list[Result]:
    """Publish each of `spools`. A server that does not answer is not asked for the others."""
    results: list[Result] = []
    for result in publish_each(spools, to):
        print_answer(f"{result.name}: {result.state}" + ("" if result.failure is None else f" ({result.failure.what})"))
        results.append(result)
    return results
