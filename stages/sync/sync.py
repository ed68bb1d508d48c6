"""Every run of an outbox into a server. It may be interrupted and repeated, and two may do it at once."""

import contextlib
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import CapillaryError, DamagedError, DataError, ServiceError, machine_error
from stages.common.program.console import print_answer
from stages.common.program.messages import get_logger
from stages.common.tracking.server import OutageError, redact
from stages.common.tracking.spool.destination import Destination
from stages.common.tracking.spool.folder import Spool
from stages.common.tracking.spool.listing import foreign_in, last_status, spools_in
from stages.common.tracking.spool.sending import Sending

log = get_logger(__name__)


class State(enum.StrEnum):
    """What became of a run."""

    PUBLISHED = "published"
    UNFINISHED = "published so far"
    BUSY = "left to the process that writes or sends it"
    WAITING = "still waits"


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run and what became of it; `failure` says why it still waits."""

    name: str
    state: State
    failure: CapillaryError | None = None


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
    dead: OutageError | None = None
    for spool in spools:
        result = _result(spool, State.WAITING, dead) if dead is not None else publish(spool, to)
        if isinstance(result.failure, OutageError):
            dead = result.failure
        print_answer(f"{result.name}: {result.state}" + ("" if result.failure is None else f" ({result.failure.what})"))
        results.append(result)
    return results


def publish(spool: Spool, to: Destination) -> Result:
    """Publish one run, unless another process is at it; remove its folder once the server has all of it.

    A fault of one run is that run's: the others are published all the same.
    """
    with contextlib.ExitStack() as held:
        try:
            for name in ("writer", "sender"):
                if (lock := spool.lock(name)) is None:
                    return _result(spool, State.BUSY)
                held.callback(lock.close)
            status = last_status(spool)
            Sending(spool, to, _nobody_waits).send()
        except CapillaryError as error:
            return _result(spool, State.WAITING, error)
        except (OSError, ValueError) as error:
            return _result(spool, State.WAITING, _unreadable(spool, error))
        if status != "FINISHED":
            return _result(spool, State.UNFINISHED)
        spool.remove()
        return _result(spool, State.PUBLISHED)


def _unreadable(spool: Spool, error: OSError | ValueError) -> CapillaryError:
    """A folder of another user's, a full disk, a link in the place of a file."""
    known = machine_error(error) if isinstance(error, OSError) else None
    return known or DamagedError(
        f"{spool.folder} cannot be read as a run",
        value=error,
        remedy="look at what is in it; remove it if it is not of your trainings",
    )


def _result(spool: Spool, state: State, failure: CapillaryError | None = None) -> Result:
    return Result(name=spool.folder.name, state=state, failure=failure)


def _nobody_waits(_patience_s: float) -> None:
    """Who repeats the command decides how long it may take."""
