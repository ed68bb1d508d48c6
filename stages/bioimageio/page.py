"""README.md of a package, which BioImage.IO shows."""

from stages.common.text import counted
from stages.common.tracking.cards.card import ModelCard

_PREPARED = {
    "percentile": "The percentiles {low:g} and {high:g} of a stack become 0 and 1; values beyond them are clipped.",
    "zscore": "The mean of a stack becomes 0 and its standard deviation 1.",
    "none": "Intensities are taken as they are.",
}


def page(card: ModelCard) -> str:
    """What to know before using the network of `card`."""
    prepared = _PREPARED[card.recipe.normalisation].format(
        low=card.recipe.percentile_low, high=card.recipe.percentile_high
    )
    patch = " × ".join(map(str, card.patch_voxels))
    lines = [
        f"# Blood vessels in 3D: loss {card.loss}, fold {card.fold}",
        "",
        "The network gives the probability of vessel for each voxel of a stack (z, y, x), at its own resolution.",
        f"It was trained on patches of {patch} voxels for {counted(card.epochs, 'epoch')}.",
        "",
        "## Preparation",
        "",
        f"{prepared} They are measured on the whole stack that is given.",
        "capillary itself leaves constant frames, such as motion correction makes, out of this measurement. "
        "Crop such frames before you use this package.",
        *_precision(card),
        "",
        "## Validation",
        "",
        f"At the end of training, the mean Dice coefficient on the validation stacks was {card.validation_dsc:.3f}.",
        "To validate the network on your own data, compare masks (probability above 0.5) with labels of stacks that "
        "were not used for training.",
        *_domain(card),
    ]
    return "\n".join(lines) + "\n"


def _precision(card: ModelCard) -> list[str]:
    if card.precision == "fp32":
        return []
    return ["", f"It was trained and evaluated in {card.precision}; this package computes in float32."]


def _domain(card: ModelCard) -> list[str]:
    if card.domain is None:
        return []
    low, high = (" × ".join(f"{size:g}" for size in ends) for ends in (card.domain.lowest_um, card.domain.highest_um))
    return ["", f"The {card.domain.volumes} training stacks had a spacing (z × y × x) from {low} to {high} µm."]
