"""Doubts about a stack that is far from what the networks were trained on. A doubt is a warning and changes nothing."""

from collections.abc import Iterator, Mapping, Sequence

from stages.common.imaging.intensities.distribution import measure_intensities
from stages.common.imaging.intensities.normalise import Scale, apply_scale
from stages.common.imaging.spacing import show
from stages.common.imaging.zyx import Spacing
from stages.common.text import percent
from stages.common.tiling.volume import Volume
from stages.common.tracking.cards.domain import TrainingDomain

# A vessel twice as wide in voxels is another shape to a network; within a factor of 2 augmentation and a few levels of
# pooling cope.
SPACING_FACTOR = 2.0
# How far a quartile may be outside the training's range, in units of the normalised scale. Real stacks of vessels
# differ by 0.03 under percentiles and by 0.1 under z-scores; noise without vessels differs by 0.35 and by 0.55.
QUARTILE_MARGIN = {"percentile": 0.2, "zscore": 0.4}
SATURATED_MARGIN = 0.05  # one voxel in twenty more at the highest value than the training saw

_NAMES = {"quartile_1": "the lower quartile", "median": "the median", "quartile_3": "the upper quartile"}


def doubts_about(
    image: Volume, scale: Scale, spacing_um: Spacing, domains: Sequence[TrainingDomain], normalisation: str
) -> Iterator[str]:
    """A sentence for each trait of the stack that is far outside what `domains` (none: nothing is known) say."""
    if not domains:
        return
    yield from _of_spacing(spacing_um, domains)
    rows = slice(0, image.shape[1])
    measured = measure_intensities(
        lambda z: image.read(slice(z, z + 1), rows)[0], image.shape[0], lambda part: apply_scale(part, scale)
    )
    if measured is not None:
        yield from doubts_of_intensities(measured.values(), domains, normalisation)


def _of_spacing(spacing_um: Spacing, domains: Sequence[TrainingDomain]) -> Iterator[str]:
    for axis, own, low, high in zip(
        "zyx",
        spacing_um,
        map(min, zip(*(domain.lowest_um for domain in domains), strict=True)),
        map(max, zip(*(domain.highest_um for domain in domains), strict=True)),
        strict=True,
    ):
        if not low / SPACING_FACTOR <= own <= high * SPACING_FACTOR:
            trained = f"{low:g} µm" if low == high else f"{low:g} to {high:g} µm"
            yield (
                f"voxels of {show(spacing_um)} µm are far from what the network was trained on: "
                f"{own:g} µm along {axis}, the training stacks had {trained}"
            )
            return


def doubts_of_intensities(
    measured: Mapping[str, float], domains: Sequence[TrainingDomain], normalisation: str
) -> Iterator[str]:
    """At most one about the quartiles, which move together, and one about saturation."""
    low = {name: min(domain.lowest.get(name, value) for domain in domains) for name, value in measured.items()}
    high = {name: max(domain.highest.get(name, value) for domain in domains) for name, value in measured.items()}
    # without normalisation the training's own width is the unit
    margin = QUARTILE_MARGIN.get(normalisation, high["quartile_3"] - low["quartile_1"])
    outside = {name: max(low[name] - measured[name], measured[name] - high[name]) for name in _NAMES}
    worst = max(outside, key=lambda name: outside[name])
    if outside[worst] > margin:
        yield (
            f"the intensities are distributed differently than in training: {_NAMES[worst]} of the normalised stack is "
            f"{measured[worst]:.2f}, that of the training stacks was {low[worst]:.2f} to {high[worst]:.2f}"
        )
    if measured["share_highest"] > high["share_highest"] + SATURATED_MARGIN:
        yield (
            f"{percent(measured['share_highest'])} of the voxels have the highest value, in training it was "
            f"{percent(high['share_highest'])} at most: the stack may be saturated"
        )
