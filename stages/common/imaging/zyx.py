"""What is said of a stack along z, y and x, in this order. Standard library alone: the host side asks, too."""

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]  # µm, if nothing else is said
PartialSpacing = tuple[float | None, float | None, float | None]  # None where the header of the file decides
Box = tuple[slice, slice, slice]  # voxels; none has a step
