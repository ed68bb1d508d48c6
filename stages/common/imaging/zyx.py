"""What is said of a stack along z, y and x, in this order. Pydantic models that have one of these check its bounds."""

from typing import Annotated

from pydantic import Field

Size = Annotated[int, Field(ge=1)]  # voxels
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]  # µm, if nothing else is said
Shape = tuple[Size, Size, Size]
Spacing = tuple[Length, Length, Length]
PartialSpacing = tuple[Length | None, Length | None, Length | None]  # None where the header of the file decides
Box = tuple[slice, slice, slice]  # voxels; none has a step
