"""Networks of an outage during train: a training cannot be registered as long as they wait in the outbox."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from stages.common.errors import CapillaryError
from stages.common.program.messages import get_logger
from stages.common.registered.trainings.training import FILE, MOST_BYTES, Training, training_from
from stages.common.registered.waiting import State, publish_each
from stages.common.tracking.publishing import NETWORK_KIND, card_in, read_local_file
from stages.common.tracking.spool.destination import Destination, First, nothing_first
from stages.common.tracking.spool.folder import Spool
from stages.common.tracking.spool.listing import folders_in, spools_in

log = get_logger(__name__)


def networks_first(outbox: Path) -> First:
    """What publishes the runs in `outbox` that hold networks of a training, before the training: as `capillary sync`.

    What cannot be published waits, and so does the training.
    """

    def first(to: Destination, folder: Path, answered: Callable[[float], None]) -> None:
        if not (folder / FILE).exists():
            return
        try:
            training = training_from(read_local_file(folder, FILE, MOST_BYTES), str(folder))
            waiting = [spool for spool in _with_networks(training, outbox) if _has_more(spool, to)]
        except (CapillaryError, OSError):
            return  # the publisher meets it, too
        results = list(publish_each(waiting, replace(to, first=nothing_first), answered))
        if done := [one.name for one in results if one.state in {State.PUBLISHED, State.UNFINISHED}]:
            log.info(f"published first what waited of the networks of this training: {', '.join(done)}")
        for one in (each for each in results if each.failure is not None):
            log.debug(f"{one.name} still waits: {one.failure}")

    return first


def _with_networks(training: Training, outbox: Path) -> Iterator[Spool]:
    wanted = {cell.weights_sha256 for cell in training.cells}
    yield from (spool for spool in spools_in(outbox) if not wanted.isdisjoint(_networks_in(spool)))


def _networks_in(spool: Spool) -> set[str]:
    """The networks that one run holds; none if it cannot be read, which `capillary sync` reports."""
    try:
        cards = [card_in(folder) for folder in folders_in(spool, NETWORK_KIND)]
    except (OSError, ValueError):
        return set()
    return {card.weights_sha256 for card in cards if card is not None}


def _has_more(spool: Spool, to: Destination) -> bool:
    return spool.sent(to.server.uri).offset < spool.size
