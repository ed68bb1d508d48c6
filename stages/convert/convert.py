"""Pickled models become description and weights; the network that these build must be the pickled one, bit for bit."""

import math
from dataclasses import asdict
from pathlib import Path

import torch

from stages.common.errors import DataError
from stages.common.imaging.recipe import recipe_from
from stages.common.networks.description import DESCRIPTION, WEIGHTS, ModelDescription, describe, description_bytes
from stages.common.networks.loading import load_network
from stages.common.networks.plan import NetworkPlan
from stages.common.networks.weights import ties_of, weights_bytes, weights_sha256
from stages.common.program.messages import get_logger
from stages.common.requests.conversion import PICKLE, OldVersion, read_versions, write_version
from stages.convert.admitted import unpickle
from stages.convert.plans import plan_of

log = get_logger(__name__)


def convert_all(fetched: Path, converted: Path) -> None:
    """Convert every version in `fetched`. One that cannot be converted is said; DataError when none can be."""
    converted.mkdir(parents=True, exist_ok=True)
    refused: list[DataError] = []
    done = 0
    for folder, version in read_versions(fetched):
        try:
            convert(folder / PICKLE, version, converted / folder.name)
            done += 1
        except DataError as error:
            refused.append(error)
    if refused and not done:
        raise refused[0]
    for one in refused:
        log.warning(f"not converted: {one.what} ({one.value})")


def convert(pickle: Path, version: OldVersion, folder: Path) -> None:
    """Write the files of `version`, whose model is in `pickle`, into `folder`.

    Raises DataError when its weights are not those that were registered, or when the catalogue does not build it.
    """
    network = unpickle(pickle, version.label).eval()
    if (found := weights_sha256(network)) != version.weights_sha256:
        raise DataError(
            f"the pickle of {version.label} has other weights than were registered",
            remedy="find out who changed it, or train it again",
            value=f"{found} instead of {version.weights_sha256}",
        )
    architecture, plan = plan_of(network, version.card.get("patch_voxels"), version.label)
    description = describe(
        architecture,
        plan,
        precision=str(version.card.get("precision")),
        recipe=asdict(recipe_from(version.card.get("recipe"), version.label)),
        ties=ties_of(network),
    )
    weights = weights_bytes(network)
    _refuse_different(network, load_network(description, weights, version.label), plan, version.label)
    write_version(folder, version)
    _write(folder, description, weights)


def _write(folder: Path, description: ModelDescription, weights: bytes) -> None:
    (folder / DESCRIPTION).write_bytes(description_bytes(description))
    (folder / WEIGHTS).write_bytes(weights)


def _refuse_different(pickled: torch.nn.Module, rebuilt: torch.nn.Module, plan: NetworkPlan, label: str) -> None:
    """Raise DataError unless both have the same weights and give the same logits of a random patch."""
    sizes = [4 * math.prod(stride[axis] for stride in plan.strides) for axis in range(3)]
    patch = torch.rand(1, 1, *sizes, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        same = weights_sha256(pickled) == weights_sha256(rebuilt) and torch.equal(pickled(patch), rebuilt(patch))
    if not same:
        raise DataError(
            f"the network that was rebuilt for {label} differs from the pickled one",
            remedy="train it again",
            value="its weights or its output for a patch differ",
        )
