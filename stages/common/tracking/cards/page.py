"""What people read on the page of a network's version: Markdown, made of values that a card's fields may have."""

from collections.abc import Sequence

from stages.common.text import counted
from stages.common.tracking.cards.card import ModelCard

_TRAININGS = "Evaluated as part of "
_MOST_TRAININGS = 20


def network_page(card: ModelCard, name: str, version: str) -> str:
    """The description of the network of `card`, which is `version` of the registered model `name`."""
    seed = "" if card.seed is None else f", seed {card.seed}"
    head = f"**`{card.loss}`**, fold {card.fold}{seed}: one network, validation DSC {card.validation_dsc:.3f} "
    rows = (
        "| (z, y, x) | |",
        "|---|---|",
        f"| spacing | {_spacing(card)} |",
        f"| patch | {_by(card.patch_voxels)} voxels |",
    )
    use = f"Predict with `capillary predict --model {name}/{version}`. A training stands for all of its networks."
    return "\n\n".join((f"{head}after the last of {counted(card.epochs, 'epoch')}.", "\n".join(rows), use)) + "\n"


def in_training(page: str, label: str) -> str:
    """`page` with `label` (name/version) among the trainings in which the network was evaluated."""
    lines = page.splitlines()
    place = next((index for index, line in enumerate(lines) if line.startswith(_TRAININGS)), None)
    if place is None:
        return f"{page.rstrip()}\n\n{_TRAININGS}`{label}`.\n".lstrip()
    labels = lines[place].removeprefix(_TRAININGS).rstrip(".").split(", ")
    if f"`{label}`" not in labels:
        lines[place] = f"{_TRAININGS}{', '.join([*labels, f'`{label}`'][-_MOST_TRAININGS:])}."
    return "\n".join(lines) + "\n"


def _spacing(card: ModelCard) -> str:
    if card.recipe.resample_to_um is not None:
        return f"{_by(card.recipe.resample_to_um)} µm, to which stacks are resampled"
    if card.domain is None:
        return "that of each stack"
    lowest, highest = _by(card.domain.lowest_um), _by(card.domain.highest_um)
    return f"{lowest if lowest == highest else f'{lowest} to {highest}'} µm, as stacks came"


def _by(sizes: Sequence[float]) -> str:
    return " × ".join(f"{size:g}" for size in sizes)
