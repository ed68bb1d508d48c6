"""SegResNet: residual blocks with group normalisation and a light decoder that adds its skips.

Source: Myronenko 2018 (arXiv:1810.11654), without the autoencoder branch. MONAI's class halves all axes alike and has
3×3×3 kernels throughout, which a stack of five sections does not survive. Its layers are therefore built again from
MONAI's blocks with the plan's kernels, strides and filters; the class and its forward pass stay MONAI's own.
"""

import math
from itertools import pairwise

import torch
from torch import nn

from stages.common.imaging.zyx import Shape
from stages.common.networks.architecture import Decoded
from stages.common.networks.monai_parts import Convolution, ResBlock, SegResNet, UpSample
from stages.common.networks.plan import NetworkPlan

GROUPS = 8  # of channels that are normalised together, as published; fewer where 8 does not divide the filters
BLOCKS_FIRST, BLOCKS_BETWEEN, BLOCKS_LAST = 1, 2, 4  # residual blocks of the encoder's levels, as published for four


def build(plan: NetworkPlan) -> SegResNet:
    """The planned SegResNet."""
    filters, kernels, strides = plan.filters, plan.kernels, plan.strides
    blocks = (BLOCKS_FIRST, *[BLOCKS_BETWEEN] * (len(filters) - 2), BLOCKS_LAST)
    network = SegResNet(
        spatial_dims=3,
        init_filters=filters[0],
        in_channels=1,
        out_channels=2,
        norm=_norm(filters[0]),
        blocks_down=blocks,
        blocks_up=(1,) * (len(filters) - 1),
    )
    network.convInit = _convolution(1, filters[0], kernels[0])
    down = [nn.Sequential(nn.Identity(), *_blocks(filters[0], kernels[0], blocks[0]))]
    up: list[nn.Module] = []
    samples: list[nn.Module] = []
    for level, (upper, lower) in enumerate(pairwise(filters), start=1):
        halve = _convolution(upper, lower, kernels[level], strides[level])
        down.append(nn.Sequential(halve, *_blocks(lower, kernels[level], blocks[level])))
        up.insert(0, _blocks(upper, kernels[level - 1], 1))
        samples.insert(0, nn.Sequential(_convolution(lower, upper, (1, 1, 1)), _enlarge(upper, strides[level])))
    network.down_layers = nn.ModuleList(down)
    network.up_layers, network.up_samples = nn.ModuleList(up), nn.ModuleList(samples)
    return network


def decode(network: torch.nn.Module, image: torch.Tensor) -> Decoded:
    """What `network(image)` computes, with the decoder's feature maps below full resolution."""
    assert isinstance(network, SegResNet)
    features, skips = network.encode(image)
    maps = []
    for sample, blocks, skip in zip(network.up_samples, network.up_layers, reversed(skips[:-1]), strict=True):
        features = blocks(sample(features) + skip)
        maps.append(features)
    return Decoded(logits=network.conv_final(features), coarser=tuple(reversed(maps[:-1])))


def _blocks(width: int, kernel: Shape, count: int) -> nn.Sequential:
    return nn.Sequential(*[_block(width, kernel) for _ in range(count)])


def _block(width: int, kernel: Shape) -> ResBlock:
    block = ResBlock(3, width, norm=_norm(width))  # which takes cubes for kernels only
    block.conv1, block.conv2 = _convolution(width, width, kernel), _convolution(width, width, kernel)
    return block


def _convolution(width_in: int, width_out: int, kernel: Shape, stride: Shape = (1, 1, 1)) -> Convolution:
    return Convolution(3, width_in, width_out, strides=stride, kernel_size=kernel, bias=False, conv_only=True)


def _enlarge(width: int, stride: Shape) -> UpSample:
    return UpSample(
        3, width, width, scale_factor=stride, mode="nontrainable", interp_mode="linear", align_corners=False
    )


def _norm(width: int) -> tuple[str, dict[str, int]]:
    return "GROUP", {"num_groups": math.gcd(GROUPS, width)}
