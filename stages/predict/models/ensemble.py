"""One network, or those of several folds and seeds as one: the mean of their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from stages.common.backends.network import PreparedNetwork
from stages.common.backends.settings import BackendSettings
from stages.common.errors import DataError
from stages.common.imaging.recipe import Recipe
from stages.common.inference import Flips, patch_probability
from stages.common.registered.finding import FoundNetwork
from stages.common.registered.loading import load_model
from stages.common.registered.trainings.mixing import refuse_mixed
from stages.common.tracking.cards.card import ModelCard


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Networks in eval mode on `device`, and what they all expect."""

    networks: tuple[PreparedNetwork, ...]
    device: torch.device
    patch_voxels: tuple[int, int, int]
    recipe: Recipe

    def probability(self, patches: torch.Tensor, flips: Flips, work_voxels: int = 0) -> torch.Tensor:
        """Mean foreground probability of `patches` (B, 1, z, y, x), of that shape.

        They are some of the `work_voxels` that their whole stack takes (backends/settings.py).
        """
        with torch.inference_mode():
            moved = patches.to(self.device)
            total = torch.zeros_like(moved)
            for network, dtype in (each.for_work(work_voxels) for each in self.networks):
                total += patch_probability(network, moved, dtype, flips)
            return total / len(self.networks)


def load_ensemble(found: Sequence[FoundNetwork], device: torch.device, backends: BackendSettings) -> Ensemble:
    """The networks that were `found`, loaded, which `backends` may compute.

    Raises DataError when they were trained on images prepared in different ways or on patches of different sizes: no
    one image would suit them all. Also when they are not of one training.
    """
    cards = [network.card for network in found]
    refuse_unlike(cards)
    first = cards[0]
    networks = [PreparedNetwork(load_model(one).to(device).eval(), one.card, backends) for one in found]
    return Ensemble(networks=tuple(networks), device=device, patch_voxels=first.patch_voxels, recipe=first.recipe)


def refuse_unlike(cards: Sequence[ModelCard]) -> None:
    """Raise DataError unless one image suits all networks of `cards`, and they are of one training."""
    first = cards[0]
    for other in cards[1:]:
        if (other.recipe, other.patch_voxels) != (first.recipe, first.patch_voxels):
            raise DataError(
                "the networks of these folds cannot be combined: their images were prepared differently",
                remedy="run `dvc repro`, so that every fold is trained the same way, or choose one with --fold and "
                "--seed",
                value=f"fold {first.fold}: {_brief(first)}; fold {other.fold}: {_brief(other)}",
            )
    refuse_mixed(cards)


def _brief(card: ModelCard) -> str:
    return f"{card.recipe.normalisation}, spacing {card.recipe.resample_to_um}, patch {card.patch_voxels}"
