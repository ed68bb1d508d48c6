"""What every architecture is built from: kernels and strides that follow from voxel spacing and patch size, as a value.

Rules after Isensee et al. 2021 (nnU-Net, doi:10.1038/s41592-020-01008-z, supplement "network topology"): an axis is
halved only while its voxels are not much coarser than the finest axis' and enough voxels remain, and a kernel spans
an axis only once the spacings have come near each other (`KernelRule.AUTO`; `FULL` spans every axis from the first
level on). No level has 1 or 2 voxels along an axis that its kernel spans: there the kernel would see mostly padding,
and torch 2.13 computes wrong bf16 weight gradients for 3×3×3 kernels on a depth of 2 on CPU
(stages/train/computing/precision.py finds such a network, this plan avoids it).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stages.common.errors import ParamsError
from stages.common.imaging.zyx import Shape, Spacing
from stages.common.networks.kernel_rule import KernelRule

MUCH_COARSER = 2.0  # times the finest spacing; the next halving in-plane evens it out
SMALLEST_EXTENT = 3  # voxels that must remain along a halved axis


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """Everything that builds the network; one entry per level, from full resolution down to the bottleneck."""

    patch_voxels: Shape
    filters: tuple[int, ...]
    kernels: tuple[Shape, ...]
    strides: tuple[Shape, ...]

    def extents_voxels(self) -> list[Shape]:
        """The patch's extent at each level."""
        extent = self.patch_voxels
        extents = []
        for stride in self.strides:
            extent = _zyx([size // step for size, step in zip(extent, stride, strict=True)])
            extents.append(extent)
        return extents

    def describe(self) -> str:
        """One line for the log: what each level sees and with which kernel."""
        levels = zip(self.extents_voxels(), self.kernels, self.filters, strict=True)
        return " | ".join(f"{_by(extent)} kernel {_by(kernel)} × {width}" for extent, kernel, width in levels)

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain values, for a run's record."""
        return asdict(self)


def plan_network(
    *,
    spacing_um: Spacing,
    patch_voxels: Shape,
    filters: tuple[int, ...],
    kernel_rule: KernelRule = KernelRule.AUTO,
) -> NetworkPlan:
    """Kernels and strides for voxels of `spacing_um` in patches of `patch_voxels`, one level per entry of `filters`.

    Raises ParamsError when the patch cannot be halved as often as `filters` asks.
    """
    extent, spacing = list(patch_voxels), list(spacing_um)
    spanned = [False, False, False]
    kernels, strides = [], []
    for level in range(len(filters)):
        stride = [1, 1, 1] if level == 0 else _stride(extent, spacing)
        if level > 0 and stride == [1, 1, 1]:
            raise _cannot_halve(patch_voxels, filters, level)
        extent = [size // step for size, step in zip(extent, stride, strict=True)]
        spacing = [size * step for size, step in zip(spacing, stride, strict=True)]
        # once spanned, always spanned: halving the others can only bring the spacings nearer
        wide = _at_least(extent)
        near = wide if kernel_rule is KernelRule.FULL else _fine_axes(spacing, wide)
        spanned = [known or new or step == 2 for known, new, step in zip(spanned, near, stride, strict=True)]
        kernels.append(_zyx([3 if spans else 1 for spans in spanned]))
        strides.append(_zyx(stride))
    return NetworkPlan(patch_voxels=patch_voxels, filters=filters, kernels=tuple(kernels), strides=tuple(strides))


def median_spacing_um(spacings_um: list[Spacing]) -> Spacing:
    """The median along each axis."""
    z, y, x = np.median(np.asarray(spacings_um, dtype=float), axis=0).tolist()
    return z, y, x


def _stride(extent: list[int], spacing: list[float]) -> list[int]:
    can_halve = [
        even and wide for even, wide in zip((size % 2 == 0 for size in extent), _at_least(extent, 2), strict=True)
    ]
    return [2 if halved else 1 for halved in _fine_axes(spacing, can_halve)]


def _at_least(extent: list[int], times: int = 1) -> list[bool]:
    return [size >= times * SMALLEST_EXTENT for size in extent]


def _fine_axes(spacing: list[float], eligible: list[bool]) -> list[bool]:
    """Which of the `eligible` axes are not much coarser than the finest of them: the others do not count."""
    finest = min((size for size, may in zip(spacing, eligible, strict=True) if may), default=0.0)
    return [may and size < MUCH_COARSER * finest for size, may in zip(spacing, eligible, strict=True)]


def _cannot_halve(patch_voxels: Shape, filters: tuple[int, ...], level: int) -> ParamsError:
    return ParamsError(
        f"[training] patch_voxels can be halved {level - 1} times, but the {len(filters)} filters need "
        f"{len(filters) - 1} times",
        remedy=f"make y and x of training.patch_voxels multiples of {2 ** (len(filters) - 1)} and at least"
        f" {SMALLEST_EXTENT * 2 ** (len(filters) - 1)}, or shorten training.filters",
        value=list(patch_voxels),
    )


def _zyx(values: list[int]) -> Shape:
    z, y, x = values
    return z, y, x


def _by(values: Shape) -> str:
    return "×".join(map(str, values))
