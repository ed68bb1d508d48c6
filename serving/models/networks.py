"""The networks of a reference: looked up, loaded, proved on a test stack."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from serving.jobs.record import Served
from stages.common.backends.settings import BackendSettings
from stages.common.device import choose_device
from stages.common.errors import DataError, ParamsError
from stages.common.imaging.zyx import Spacing
from stages.common.inference import BATCH_SIZE, Flips
from stages.common.params import validate_params
from stages.common.registered.aliases import aliases_of
from stages.common.registered.finding import FoundNetwork, find_networks, places_of
from stages.common.registered.referred import find_by_reference
from stages.common.runtime import Runtime
from stages.common.tracking.cards.card import read_card
from stages.common.tracking.names import CHAMPION, DEFAULT
from stages.common.tracking.server import Server, connect
from stages.predict.models.ensemble import Ensemble, load_ensemble
from stages.predict.params import Evaluation, PredictParams

AUTO = "auto"
PARAMS_FILE = "params.yaml"
CARDS = "models/"  # as a reference: the cards there
JOIN = ","  # between the versions of a pinned reference
WEIGHTS_CHARACTERS = 12
PINNED_BY_WEIGHTS = re.compile(rf"/[0-9a-f]{{{WEIGHTS_CHARACTERS}}}(,|$)")  # no registry counts to so many digits


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Networks in memory, how they predict, and what they are called."""

    ensemble: Ensemble
    evaluation: Evaluation
    channel: int | str | None
    level_um: Spacing | None
    batch_size: int
    memory_abort_gb: float | None
    served: Served
    pinned: str


def load_networks(reference: str, root: Path, runtime: Runtime) -> Networks:
    """Load what `reference` means (see find_served). Raises CapillaryError if there is nothing whole."""
    networks, evaluation = find_served(reference, root, runtime), evaluation_of(root)
    ingest = read_yaml(root / PARAMS_FILE).get("ingest") or {}
    batch_size = runtime.compute.micro_batch or BATCH_SIZE
    threads = torch.get_num_threads()  # as the worker has set it
    backends = BackendSettings(asked=evaluation.backend, threads=threads, patches_at_a_time=batch_size)
    return Networks(
        ensemble=load_ensemble(networks, choose_device(runtime.compute), backends),
        evaluation=evaluation,
        channel=ingest.get("channel"),
        level_um=tuple(ingest["level_um"]) if ingest.get("level_um") else None,
        batch_size=batch_size,
        memory_abort_gb=runtime.monitoring.memory_abort_gb,
        served=served_as(networks),
        pinned=_pinned(networks),
    )


def evaluation_of(root: Path) -> Evaluation:
    """How probabilities become a mask, as params.yaml has it. Raises CapillaryError for a size that is `auto`."""
    file = root / PARAMS_FILE
    fields = Evaluation.model_fields
    given = {key: value for key, value in (read_yaml(file).get("evaluation") or {}).items() if key in fields}
    if given.get("min_component_um3") == AUTO:
        raise ParamsError(
            "evaluation.min_component_um3 is auto, which a service cannot use: the size belongs to one loss, and the "
            "service may change its model",
            file=file,
            remedy="set it to a size in µm³, or to null",
        )
    return validate_params(PredictParams, {"evaluation": given}, str(file)).evaluation


def read_yaml(file: Path) -> dict[str, Any]:
    """A mapping; raises ParamsError for anything else."""
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamsError(f"{file.name} cannot be read: {error}", remedy="restore or mount it", file=file) from None
    if not isinstance(data, dict):
        raise ParamsError(f"{file.name} has no sections", remedy="restore it", file=file)
    return data


def pinned_reference(reference: str, root: Path, runtime: Runtime) -> str:
    """What `reference` leads to now, with versions."""
    return _pinned(find_served(reference, root, runtime))


def find_served(reference: str, root: Path, runtime: Runtime) -> tuple[FoundNetwork, ...]:
    """The networks of `reference`: NAME, NAME@ALIAS, NAME/VERSION or several with commas; CARDS: those in models/.

    Empty: the champion of DEFAULT, or the cards in models/ where the registry has none. A training stands for all of
    its networks. Networks that no registry has given a number are pinned by their weights: those are in the cards.
    """
    if PINNED_BY_WEIGHTS.search(reference):
        found = _find_by_cards(root, runtime)
        if _pinned(found) != reference:
            raise DataError(
                "the cards in models/ are other ones now", file=root / "models", remedy="restart the service"
            )
        return found
    server = connect(runtime)
    if not reference:
        reference = f"{DEFAULT}@{CHAMPION}" if _has_champion(server) else CARDS
    if reference != CARDS:
        return tuple(one for each in reference.split(JOIN) for one in find_by_reference(each.strip(), server))
    return _find_by_cards(root, runtime)


def _find_by_cards(root: Path, runtime: Runtime) -> tuple[FoundNetwork, ...]:
    files = sorted((root / "models").glob("*/fold_*.json"))
    losses = sorted({file.parent.name for file in files})
    if len(losses) != 1:
        found = f"models/ has cards of {', '.join(losses)}" if losses else "models/ has no model card"
        train = "" if losses else "train one (dvc repro), or "
        raise DataError(
            found, file=root / "models", remedy=f"{train}name the model: CAPILLARY_SERVE_MODEL=NAME or NAME@ALIAS"
        )
    return tuple(find_networks([read_card(file) for file in files], places_of(runtime)))


def _has_champion(server: Server) -> bool:
    try:
        return CHAMPION in aliases_of(DEFAULT, server)
    except DataError:  # nothing is registered under that name
        return False


def served_as(networks: tuple[FoundNetwork, ...]) -> Served:
    """One name for networks that answer together; the hash is that of all of their weights."""
    names = sorted({network.name for network in networks})
    weights = [network.card.weights_sha256 for network in networks]
    digest = weights[0] if len(weights) == 1 else hashlib.sha256("".join(weights).encode()).hexdigest()
    return Served(name="+".join(names), version="+".join(map(_number, networks)), weights_sha256=digest)


def _number(network: FoundNetwork) -> str:
    """Its version; without a registry, its weights."""
    return network.version or network.card.weights_sha256[:WEIGHTS_CHARACTERS]


def self_test(ensemble: Ensemble, flips: Flips) -> None:
    """Raise CapillaryError unless the networks give probabilities on a patch of noise, and the same ones again."""
    noise = torch.randn((1, 1, *ensemble.patch_voxels), generator=torch.Generator().manual_seed(0))
    first, second = (ensemble.probability(noise, flips).cpu().float() for _ in range(2))
    whole = bool(torch.isfinite(first).all()) and float(first.min()) >= 0 and float(first.max()) <= 1
    if not whole or not torch.equal(first, second):
        raise DataError(
            "the networks failed their self-test: "
            + ("two passes over the same patch differ" if whole else "their output is not a probability"),
            remedy="promote another version",
        )


def _pinned(networks: tuple[FoundNetwork, ...]) -> str:
    return JOIN.join(f"{network.name}/{_number(network)}" for network in networks)
