"""The networks of a request: found in the registry or by the cards, and loaded."""

import contextlib
from collections.abc import Iterator, Sequence

from stages.common.backends.settings import BackendSettings
from stages.common.device import choose_device
from stages.common.inference import BATCH_SIZE
from stages.common.monitoring.memory_guard import guarding
from stages.common.program.messages import get_logger
from stages.common.registered.finding import FoundNetwork, find_networks, places_of
from stages.common.registered.referred import find_by_reference
from stages.common.requests.prediction.request import PredictRequest
from stages.common.runtime import Runtime
from stages.common.tracking.cards.card import ModelCard, read_card
from stages.common.tracking.server import connect
from stages.predict.models.ensemble import load_ensemble
from stages.predict.params import Evaluation
from stages.predict.steps import Method

log = get_logger(__name__)


def _place(card: ModelCard, cards: Sequence[ModelCard]) -> str:
    """Its fold, and its seed where the networks are of several."""
    seeds = {each.seed for each in cards}
    return f"fold {card.fold}, seed {card.seed}" if len(seeds) > 1 else f"fold {card.fold}"


@contextlib.contextmanager
def opened(
    request: PredictRequest, evaluation: Evaluation, runtime: Runtime
) -> Iterator[tuple[Method, tuple[ModelCard, ...]]]:
    """The networks of `request`, loaded, and their cards; memory is watched within the block."""
    networks = find_asked(request, runtime)
    cards = tuple(network.card for network in networks)
    names = ", ".join(f"{network.title} ({_place(network.card, cards)})" for network in networks)
    log.info(f"predicting with {names}" + (": the mean of their probabilities" if len(networks) > 1 else ""))
    batch_size = runtime.compute.micro_batch or BATCH_SIZE
    backends = BackendSettings(asked=evaluation.backend, threads=runtime.threads, patches_at_a_time=batch_size)
    ensemble = load_ensemble(networks, choose_device(runtime.compute), backends)
    with guarding(runtime.monitoring.memory_abort_gb) as guard:
        domains = tuple(card.domain for card in cards if card.domain is not None)
        method = Method(ensemble=ensemble, evaluation=evaluation, batch_size=batch_size, guard=guard, domains=domains)
        yield method, cards


def find_asked(request: PredictRequest, runtime: Runtime) -> list[FoundNetwork]:
    """The networks that `request` names, not loaded yet. Raises ServiceError for a registry that does not answer."""
    if request.model:
        return find_by_reference(request.model, connect(runtime))
    return find_networks([read_card(card) for card in request.cards], places_of(runtime))
