"""Small networks of the catalogue for tests of the registry, one of which has a known answer."""

import dataclasses
from typing import Any

import torch

from stages.common.imaging.recipe import Recipe
from stages.common.networks.catalogue import ARCHITECTURES, build_network
from stages.common.networks.description import ModelDescription, describe
from stages.common.networks.plan import NetworkPlan
from stages.common.networks.weights import ties_of
from stages.common.packing import pack
from stages.common.tracking.cards.card import ModelCard
from stages.common.tracking.model_files import Package
from tests.support.models.recipe import RECIPE
from tests.support.tracking.cards import CARD

WIDTH = 5  # no divisor of the groups: all channels are normalised together
HIGH = 1000.0  # far above what a stack holds, so that it alone decides the deviation
ONE = (1, 1, 1)
Patch = tuple[int, int, int]


def small_plan(patch_voxels: Patch = (4, 16, 16), first_kernel: Patch = ONE) -> NetworkPlan:
    """Three levels that halve nothing, so that any patch suits."""
    return NetworkPlan(
        patch_voxels=patch_voxels, filters=(WIDTH,) * 3, kernels=(first_kernel, ONE, ONE), strides=(ONE, ONE, ONE)
    )


def random_network(seed: int = 0) -> torch.nn.Module:
    """A SegResNet of `small_plan`."""
    return build_network(small_plan(), seed, architecture="segresnet", deep_supervision=False)


def linear_network(kernel: torch.Tensor, bias: float) -> torch.nn.Module:
    """Probability sigmoid(image * kernel + bias), nearly: `kernel` (z, y, x) is convolved with the image.

    A SegResNet whose blocks add nothing. It ends with a normalisation over all channels. They are the image, its
    negative, and two constants: so the mean is 0 and the deviation follows from the constants.
    """
    plan = small_plan(first_kernel=(kernel.shape[0], kernel.shape[1], kernel.shape[2]))
    network = ARCHITECTURES["segresnet"].build(plan)
    scale, deviation = kernel.abs().sum(), HIGH * (2 / WIDTH) ** 0.5
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first = network.get_submodule("down_layers.0.1")
        network.get_parameter("convInit.conv.weight")[:2, 0] = torch.stack([kernel, -kernel]) / scale
        first.get_parameter("norm2.bias")[0] = 1.0
        middle = tuple(size // 2 for size in kernel.shape)
        constants = first.get_parameter("conv2.conv.weight")
        constants[2, 0, *middle], constants[3, 0, *middle] = HIGH, -HIGH
        network.get_parameter("conv_final.0.weight").fill_(1.0)
        last = network.get_parameter("conv_final.2.conv.weight")
        last[1, 0], last[1, 1] = deviation * scale, -deviation * scale
        network.get_parameter("conv_final.2.conv.bias")[1] = bias
    return network


def brightness_network(bias: float = -5.0, slope: float = 10.0) -> torch.nn.Module:
    """Probability sigmoid(slope · image + bias): a voxel's own brightness decides."""
    return linear_network(torch.full(ONE, slope), bias)


def description_of(
    network: torch.nn.Module,
    *,
    patch_voxels: Patch = (4, 16, 16),
    precision: str = "fp32",
    recipe: Recipe = RECIPE,
) -> ModelDescription:
    """What train writes of one of the networks above."""
    first = network.get_parameter("convInit.conv.weight").shape
    plan = small_plan(patch_voxels, (first[2], first[3], first[4]))
    return describe("segresnet", plan, precision=precision, recipe=dataclasses.asdict(recipe), ties=ties_of(network))


def package_of(
    network: torch.nn.Module,
    *,
    patch_voxels: Patch = (4, 16, 16),
    precision: str = "fp32",
    recipe: Recipe = RECIPE,
) -> Package:
    """One of the networks above, ready for the registry."""
    return pack(network, description_of(network, patch_voxels=patch_voxels, precision=precision, recipe=recipe))


def card_of(network: torch.nn.Module, **changes: Any) -> ModelCard:
    """The card of one of the networks above."""
    package = package_of(network)
    card = dataclasses.replace(
        CARD,
        weights_sha256=package.weights_sha256,
        patch_voxels=package.description.plan.patch_voxels,
        files=package.files,
    )
    return dataclasses.replace(card, **changes)
