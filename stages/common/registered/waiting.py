"""Runs that wait in an outbox into a server. It may be interrupted and repeated, and two may do it at once."""

import contextlib
import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stages.common.errors import CapillaryError, DamagedError, machine_error
from stages.common.tracking.server import OutageError
from stages.common.tracking.spool.destination import Destination
from stages.common.tracking.spool.folder import Spool
from stages.common.tracking.spool.listing import last_status
from stages.common.tracking.spool.sending import Sending

Answered = Callable[[float], None]


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


def _nobody_waits(_patience_s: float) -> None:
    """Who repeats the command decides how long it may take."""


def publish_each(spools: Sequence[Spool], to: Destination, answered: Answered = _nobody_waits) -> Iterator[Result]:
    """Publish each of `spools`. A server that does not answer is not asked for the others.

    A fault of one run is that run's: the others are published all the same. `answered` is called with the patience that
    the next answer may need.
    """
    dead: OutageError | None = None
    for spool in spools:
        result = _result(spool, State.WAITING, dead) if dead is not None else _publish(spool, to, answered)
        if isinstance(result.failure, OutageError):
            dead = result.failure
        yield result


def _publish(spool: Spool, to: Destination, answered: Answered) -> Result:
    """Publish one run, unless another process is at it; remove its folder once the server has all of it."""
    with contextlib.ExitStack() as held:
        try:
            for name in ("writer", "sender"):
                if (lock := spool.lock(name)) is None:
                    return _result(spool, State.BUSY)
                held.callback(lock.close)
            status = last_status(spool)
            Sending(spool, to, answered).send()
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
