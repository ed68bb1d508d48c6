"""What a training saw, for its model's card: predict warns about stacks that are far from it."""

from collections.abc import Sequence

from stages.common.imaging.intensities.distribution import of_array
from stages.common.imaging.volumes import Volume
from stages.common.tracking.cards.domain import TrainingDomain


def measure_domain(volumes: Sequence[Volume]) -> TrainingDomain | None:
    """The ranges over `volumes`; None if none of them has contrast."""
    measured = [one.values() for volume in volumes if (one := of_array(volume.image())) is not None]
    if not measured:
        return None
    spacings = [(volume.native or volume.grid).spacing_um for volume in volumes]
    z, y, x = zip(*spacings, strict=True)
    ranges = {name: [values[name] for values in measured] for name in measured[0]}
    return TrainingDomain(
        volumes=len(volumes),
        lowest_um=(min(z), min(y), min(x)),
        highest_um=(max(z), max(y), max(x)),
        lowest={name: min(each) for name, each in ranges.items()},
        highest={name: max(each) for name, each in ranges.items()},
    )
