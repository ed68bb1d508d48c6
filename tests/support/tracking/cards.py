"""A model card, for tests that look at a few of its fields."""

from stages.common.networks.description import FILES
from stages.common.tracking.cards.card import ModelCard, ModelFile
from tests.support.models.recipe import RECIPE

CARD = ModelCard(
    loss="dice_ce",
    fold=0,
    seed=2026,
    weights_sha256="0" * 64,
    patch_voxels=(12, 96, 96),
    epochs=20,
    validation_dsc=0.8,
    fingerprint="f",
    precision="fp32",
    recipe=RECIPE,
    files={name: ModelFile(sha256="0" * 64, bytes=1) for name in FILES},
)
