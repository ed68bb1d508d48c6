"""DynUNet, MONAI's form of the nnU-Net: plain convolutions, strided down and transposed up, instance normalisation.

Source: Isensee et al. 2021 (nnU-Net, doi:10.1038/s41592-020-01008-z). Kernels and strides are the plan's, level by
level.
"""

import torch

from stages.common.networks.architecture import Decoded
from stages.common.networks.monai_parts import DynUNet
from stages.common.networks.plan import NetworkPlan


def build(plan: NetworkPlan) -> DynUNet:
    """The planned DynUNet, without MONAI's own deep supervision, which enlarges every head to full resolution."""
    return DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=2,
        kernel_size=plan.kernels,
        strides=plan.strides,
        upsample_kernel_size=plan.strides[1:],
        filters=plan.filters,
        norm_name=("INSTANCE", {"affine": True}),
    )


def decode(network: torch.nn.Module, image: torch.Tensor) -> Decoded:
    """What `network(image)` computes, with the decoder's feature maps below full resolution."""
    assert isinstance(network, DynUNet)
    skips = [network.input_block(image)]
    for down in network.downsamples:
        skips.append(down(skips[-1]))
    features = network.bottleneck(skips[-1])
    maps = []
    for up, skip in zip(network.upsamples, reversed(skips), strict=True):
        features = up(features, skip)
        maps.append(features)
    return Decoded(logits=network.output_block(features), coarser=tuple(reversed(maps[:-1])))
