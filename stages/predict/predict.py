"""The stage's work from top to bottom: load the networks once, then one stack, or many."""

import contextlib
from collections.abc import Iterator, Sequence
from math import prod

import torch

from stages.common.errors import CapillaryError, ExitCode
from stages.common.monitoring.memory_guard import guarding
from stages.common.progress import say
from stages.common.registered.finding import FoundNetwork, find_networks, places_of
from stages.common.registered.referred import find_by_reference
from stages.common.runtime import Runtime
from stages.common.tracking.registry import ModelCard, read_card
from stages.common.tracking.server import connect
from stages.predict.batch.batch import Batch
from stages.predict.batch.keys import method_key
from stages.predict.disk.scratch import Scratch
from stages.predict.models.ensemble import load_ensemble
from stages.predict.params import Evaluation
from stages.predict.reporting import ALOUD
from stages.predict.request import PredictRequest
from stages.predict.steps import Method, compute, prepare, survey, write

BATCH_SIZE = 2  # patches that go through the network at a time, where the profile says nothing


def predict(request: PredictRequest, evaluation: Evaluation, runtime: Runtime) -> None:
    """Segment the stacks of `request` and leave their files.

    Raises CapillaryError: DataError for a stack or models that cannot be read, ServiceError for a registry that does
    not answer, and the kind `machine` when the disk has no room for the work. Of many stacks, one that fails is noted
    and the others continue; then the error at the end says how many failed.
    """
    torch.set_num_threads(runtime.threads)
    torch.backends.cudnn.deterministic = True
    work = predict_one if request.folder is None else predict_many
    work(request, evaluation, runtime)


def predict_one(request: PredictRequest, evaluation: Evaluation, runtime: Runtime) -> None:
    """Segment the only stack of `request`."""
    (stack,) = request.stacks
    place = survey(stack, ALOUD)  # before the networks, which take longer
    with opened(request, evaluation, runtime) as (method, _), Scratch(stack.mask) as scratch:
        prepared = prepare(stack, place, method, scratch, scratch.refuse_full_disk, ALOUD)
        computed = compute(prepared, place, method, scratch, ALOUD)
        write(stack, place, computed)
        voxels = prod(place.shape_zyx)
        say(f"{computed.vessel_voxels:,} of {voxels:,} voxels are vessel ({computed.vessel_share:.1%})")


def predict_many(request: PredictRequest, evaluation: Evaluation, runtime: Runtime) -> None:
    """Segment all stacks of `request`; each is told of in its folder (batch/results.py)."""
    with opened(request, evaluation, runtime) as (method, cards):
        batch = Batch(request, method, method_key(cards, evaluation))
        batch.run()
    if batch.failed:
        raise CapillaryError(
            f"{batch.failed} of {len(request.stacks)} stacks failed; the others are done",
            remedy="correct or remove the failed ones, listed in predictions.csv, then repeat the command with "
            "--resume",
            code=ExitCode.STACKS_FAILED,
        )


def _place(card: ModelCard, cards: Sequence[ModelCard]) -> str:
    """Its fold, and its seed where the networks are of several."""
    seeds = {each.seed for each in cards}
    return f"fold {card.fold}, seed {card.seed}" if len(seeds) > 1 else f"fold {card.fold}"


@contextlib.contextmanager
def opened(
    request: PredictRequest, evaluation: Evaluation, runtime: Runtime
) -> Iterator[tuple[Method, tuple[ModelCard, ...]]]:
    """The networks of `request`, loaded, and their cards; memory is watched within the block."""
    networks = _networks(request, runtime)
    cards = tuple(network.card for network in networks)
    names = ", ".join(f"{network.title} ({_place(network.card, cards)})" for network in networks)
    say(f"predicting with {names}" + (": the mean of their probabilities" if len(networks) > 1 else ""))
    use_gpu = torch.cuda.is_available() and runtime.compute.device != "cpu"
    ensemble = load_ensemble(networks, torch.device("cuda" if use_gpu else "cpu"))
    batch_size = runtime.compute.micro_batch or BATCH_SIZE
    with guarding(runtime.monitoring.memory_abort_gb) as guard:
        domains = tuple(card.domain for card in cards if card.domain is not None)
        method = Method(ensemble=ensemble, evaluation=evaluation, batch_size=batch_size, guard=guard, domains=domains)
        yield method, cards


def _networks(request: PredictRequest, runtime: Runtime) -> list[FoundNetwork]:
    if request.model:
        return find_by_reference(request.model, connect(runtime))
    return find_networks([read_card(card) for card in request.cards], places_of(runtime))
