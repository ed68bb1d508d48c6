"""UNet: MONAI's residual U-Net, the network of its tutorials.

Source: Kerfoot et al. 2019 (doi:10.1007/978-3-030-12029-0_40). MONAI's class has one kernel for all levels; its layers
are built again from MONAI's blocks with the plan's kernels, the class and its forward pass stay. The first convolution
is strided already: full resolution is seen by that one and by the last.
"""

from torch import nn

from stages.common.networks.monai_parts import Convolution, ResidualUnit, SkipConnection, UNet
from stages.common.networks.plan import NetworkPlan

RESIDUAL_UNITS = 2  # convolutions of a residual block, as in the tutorials
NORM = ("INSTANCE", {"affine": True})


def build(plan: NetworkPlan) -> UNet:
    """The planned UNet. It shows no decoder, so it is trained without deep supervision."""
    network = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=2,
        channels=plan.filters,
        strides=plan.strides[1:],  # type: ignore[arg-type]  # MONAI's annotation lacks its steps by axis
        num_res_units=RESIDUAL_UNITS,
        norm=NORM,
    )
    network.model = _level(plan, 0, 1, 2)
    return network


def _level(plan: NetworkPlan, level: int, width_in: int, width_out: int) -> nn.Sequential:
    """From the plan's `level` down to the next, through all below next to a skip, and up again."""
    width, below = plan.filters[level], level + 1
    stride, kernel = plan.strides[below], plan.kernels[below]
    inner: nn.Module
    if below == len(plan.filters) - 1:
        width_inner = plan.filters[below]
        inner = ResidualUnit(3, width, width_inner, kernel_size=kernel, subunits=RESIDUAL_UNITS, norm=NORM)
    else:
        width_inner = width
        inner = _level(plan, below, width, width)
    down = ResidualUnit(3, width_in, width, strides=stride, kernel_size=kernel, subunits=RESIDUAL_UNITS, norm=NORM)
    up = Convolution(
        3, width + width_inner, width_out, strides=stride, kernel_size=kernel, norm=NORM, is_transposed=True
    )
    after = ResidualUnit(
        3, width_out, width_out, kernel_size=plan.kernels[level], subunits=1, norm=NORM, last_conv_only=level == 0
    )
    return nn.Sequential(down, SkipConnection(inner), nn.Sequential(up, after))
