"""Where a card's network is kept. A card names it by its hashes and not by a place, so that it may be published later.

The registry is asked first, by the model's name and the hash of the weights. A server without a registry keeps networks
as files of their runs. What no server has yet waits in the outbox. Last, DVC may keep them, too (kept.py).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import DataError, ServiceError
from stages.common.program.messages import get_logger
from stages.common.registered.files import fetch_file, fetch_run_file, folders_of_run
from stages.common.registered.kept import read_kept_file, weights_from_remote
from stages.common.runtime import Runtime
from stages.common.tracking.address import EXPERIMENT
from stages.common.tracking.cards.card import ModelCard, address_words, card_json
from stages.common.tracking.model_files import FOLDER
from stages.common.tracking.publishing import NETWORK_KIND, card_in, read_local_file
from stages.common.tracking.receipts import read_receipt
from stages.common.tracking.registry import (
    CARD_TAG,
    FINGERPRINT_TAG,
    FORMAT,
    FORMAT_TAG,
    NETWORK,
    WEIGHTS_TAG,
    own_folder,
    versions_of,
)
from stages.common.tracking.runs import destination
from stages.common.tracking.server import RefusedError, Server, redact
from stages.common.tracking.spool.listing import folders_of_kind

log = get_logger(__name__)

PATIENCE_S = 12.0


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where to look: a server, None if none is to be asked; the outbox and the receipts of the repository."""

    server: Server | None
    outbox: Path | None = None
    receipts: Path | None = None


@dataclass(frozen=True, kw_only=True)
class FoundNetwork:
    """A network and the way to its files. `version` is empty if no registry has given it a number.

    `fetch` gives the content of a file by its name, of at most so many bytes; what comes is not checked yet.
    """

    card: ModelCard
    name: str
    version: str
    place: str
    fetch: Callable[[str, int], bytes]

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} version {self.version}" if self.version else self.name

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"{self.title} (loss {self.card.loss}, fold {self.card.fold})"


def places_of(runtime: Runtime) -> Places:
    """Where `runtime` lets its stage look. No server is asked yet."""
    to = destination(runtime)
    return Places(server=None if to is None else to.server, outbox=runtime.outbox, receipts=runtime.receipts)


def find_network(card: ModelCard, places: Places) -> FoundNetwork:
    """The network of `card`. Raises what find_networks raises."""
    return find_networks([card], places)[0]


def find_networks(cards: Sequence[ModelCard], places: Places) -> list[FoundNetwork]:
    """The network of each of `cards`.

    A server that does not answer is asked once. Raises ServiceError for a network that is nowhere, and says where it
    was looked for.
    """
    server, found = places.server, []
    failure: ServiceError | None = None
    for card in cards:
        one = None
        if server is not None:
            try:
                one = _on_server(card, server, places.receipts)
            except RefusedError as error:
                failure = error
            except ServiceError as error:
                failure, server = error, None
        one = one or _waiting(card, places.outbox) or _kept(card)
        if one is None:
            raise _nowhere(card, places, failure)
        found.append(one)
    return found


def network_of_version(card: ModelCard, version: ModelVersion, server: Server) -> FoundNetwork:
    """The network that `version` of a registered model is."""
    number = str(version.version)

    def fetch(name: str, most_bytes: int) -> bytes:
        return fetch_file(f"{FOLDER}/{name}", version.name, number, server, most_bytes)

    place = f"the registry at {redact(server.uri)}"
    return FoundNetwork(card=card, name=version.name, version=number, place=place, fetch=fetch)


def _on_server(card: ModelCard, server: Server, receipts: Path | None) -> FoundNetwork | None:
    try:
        ask = partial(versions_of, server, card.model_name)
        versions = server.call("list model versions", ask, PATIENCE_S)
    except RefusedError as error:
        if not error.is_missing_endpoint:
            raise
        log.warning(
            f"MLflow at {redact(server.uri)} has no model registry: looking for the network among the runs' files"
        )
        return _among_files(card, server, receipts)
    suitable = [version for version in versions if _is_of(version, card)]
    # the same weights may have been trained for other patches: the files decide, and the newest of equal ones is taken
    suitable.sort(key=lambda version: (_has_card(version, card), int(version.version)))
    return network_of_version(card, suitable[-1], server) if suitable else None


def _is_of(version: ModelVersion, card: ModelCard) -> bool:
    return version.tags.get(WEIGHTS_TAG) == card.weights_sha256 and version.tags.get(FORMAT_TAG) == FORMAT


def _has_card(version: ModelVersion, card: ModelCard) -> bool:
    same_training = version.tags.get(FINGERPRINT_TAG) == card.fingerprint
    return same_training or version.tags.get(CARD_TAG) == card_json(card)


def _among_files(card: ModelCard, server: Server, receipts: Path | None) -> FoundNetwork | None:
    """The network among the files of its run: that of the receipt, else one that has the training's fingerprint."""
    for run in _runs_of(card, server, receipts):
        try:
            folders = folders_of_run(run, server)
        except RefusedError:
            continue  # an object store that knows no such folder
        for folder in (NETWORK, own_folder(card.weights_sha256)):
            if folder in folders:
                fetch = _fetch_of_run(run, folder, server)
                place = f"the files of the run {run.info.run_id} at {redact(server.uri)}"
                return FoundNetwork(card=card, name=card.model_name, version="", place=place, fetch=fetch)
    return None


def _fetch_of_run(run: Run, folder: str, server: Server) -> Callable[[str, int], bytes]:
    return lambda name, most_bytes: fetch_run_file(f"{folder}/{FOLDER}/{name}", run, server, most_bytes)


def _runs_of(card: ModelCard, server: Server, receipts: Path | None) -> Iterator[Run]:
    receipt = None if receipts is None else read_receipt(receipts, card.fingerprint, server.uri)
    if receipt is not None:
        try:
            yield server.call("find a run", lambda: server.client.get_run(receipt.run_id))
        except RefusedError:
            log.warning(f"the run {receipt.run_id} of {card.model_name} is no longer at {redact(server.uri)}")
    experiment = server.call("find its experiment", lambda: server.client.get_experiment_by_name(EXPERIMENT))
    if experiment is None:
        return
    wanted = f"tags.`{WEIGHTS_TAG}` = '{card.weights_sha256}'"
    ask = partial(
        server.client.search_runs, [experiment.experiment_id], wanted, order_by=["attributes.start_time DESC"]
    )
    yield from server.call("search its runs", ask)


def _waiting(card: ModelCard, outbox: Path | None) -> FoundNetwork | None:
    """The network in the outbox of the repository, where it waits to be published."""
    for folder in folders_of_kind(outbox, NETWORK_KIND) if outbox is not None else ():
        kept = card_in(folder)
        if kept is not None and (kept.weights_sha256, kept.files) == (card.weights_sha256, card.files):
            fetch = partial(read_local_file, folder)
            place = f"what waits to be published ({folder})"
            return FoundNetwork(card=card, name=card.model_name, version="", place=place, fetch=fetch)
    return None


def _kept(card: ModelCard) -> FoundNetwork | None:
    """The network in the project's weights/, as `dvc pull` brought it."""
    folder = weights_from_remote(card)
    if folder is None:
        return None
    fetch = partial(read_kept_file, folder)
    return FoundNetwork(card=card, name=card.model_name, version="", place=f"{folder}, which DVC keeps,", fetch=fetch)


def _nowhere(card: ModelCard, places: Places, failure: ServiceError | None) -> ServiceError | DataError:
    what = f"the network of loss {card.loss}, fold {card.fold}"
    again = f"if it is gone, train it again: {address_words(card)}"
    if failure is not None:
        return ServiceError(
            f"{what} is not waiting to be published here, and {failure.what}",
            remedy=f"{failure.remedy}. {again[0].upper()}{again[1:]}",
            value=failure.value,
        )
    if places.server is None:
        return ServiceError(
            f"{what} is not waiting to be published here, and CAPILLARY_TRACKING=offline contacts no server",
            remedy=f"set CAPILLARY_TRACKING=auto to fetch it; {again}",
            value=card.weights_sha256,
        )
    return ServiceError(
        f"the registry at {redact(places.server.uri)} has no version of {card.model_name} with the weights of {what}: "
        "it was registered on another server, or deleted from this one",
        remedy="set MLFLOW_TRACKING_URI to its value when this model was trained (if it was unset, that project's "
        "mlruns/ is needed); to work without that server, its team sets tracking.weights_in_remote: true "
        "(docs/remotes.md), and you "
        f"run dvc pull; {again}",
        value=card.weights_sha256,
    )
