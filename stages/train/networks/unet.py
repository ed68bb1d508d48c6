"""UNet: MONAI's residual U-Net, the network of its tutorials.

Source: Kerfoot et al. 2019 (doi:10.1007/978-3-030-12029-0_40). Strides are the plan's. The class has one kernel for all
levels: it spans the axes that the plan spans at any level, so never one with fewer than 3 voxels. Its first convolution
is strided already, so every level works one halving below the plan's.
"""

from monai.networks.nets.unet import UNet

from stages.train.networks.plan import NetworkPlan

RESIDUAL_UNITS = 2  # convolutions of a residual block, as in the tutorials


def build(plan: NetworkPlan) -> UNet:
    """The planned UNet. It shows no decoder, so it is trained without deep supervision."""
    kernel = tuple(max(widths) for widths in zip(*plan.kernels, strict=True))
    return UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=2,
        channels=plan.filters,
        strides=plan.strides[1:],  # type: ignore[arg-type]  # MONAI's annotation lacks its steps by axis
        kernel_size=kernel,
        up_kernel_size=kernel,
        num_res_units=RESIDUAL_UNITS,
        norm=("INSTANCE", {"affine": True}),
    )
