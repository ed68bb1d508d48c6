"""What a network was trained on, as its card says: the ranges of the training stacks' spacing and intensities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator, ConfigDict, Field, Strict

_Number = Annotated[int, Strict()] | Annotated[float, Strict(), Field(allow_inf_nan=False)]
_Length = Annotated[int, Strict(), Field(gt=0)] | Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
_Lengths = tuple[_Length, _Length, _Length]
_Measured = Annotated[Mapping[str, _Number], Field(max_length=20)]


@dataclass(frozen=True, kw_only=True)
class TrainingDomain:
    """Spacing (z, y, x; µm) is that of the stacks as they came. `lowest` and `highest` are by the name of what was
    measured on each normalised volume (stages/common/imaging/intensities/distribution.py).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    volumes: Annotated[int, Strict(), Field(gt=0)]
    lowest_um: _Lengths
    highest_um: _Lengths
    lowest: _Measured
    highest: _Measured


def _measured_alike(domain: TrainingDomain) -> TrainingDomain:
    if domain.lowest.keys() != domain.highest.keys():
        raise ValueError("lowest and highest are of other measures")
    return domain


Domain = Annotated[TrainingDomain, AfterValidator(_measured_alike)]
