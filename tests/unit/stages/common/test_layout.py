"""Channels last on a CPU: the same network, quicker."""

import copy

import numpy as np
import pytest
import torch

from stages.common.inference import predict_probability
from stages.common.layout import (
    ChannelsLastInstanceNorm3d,
    copy_channels_last,
    keeps_channels_last,
    lay_out_channels_last,
    lay_out_for_prediction,
    lay_out_plainly,
)
from stages.common.networks.catalogue import build_network
from stages.common.networks.plan import plan_network

PLAN = plan_network(spacing_um=(2.0, 1.0, 1.0), patch_voxels=(6, 16, 16), filters=(4, 8, 8), kernel_rule="auto")


@pytest.mark.parametrize("affine", [True, False])
def test_the_norm_is_torch_s_and_keeps_the_order(affine: bool) -> None:
    """Values and gradients in float64, for each patch by itself."""
    torch.manual_seed(0)
    norm = torch.nn.InstanceNorm3d(3, affine=affine).double()
    if affine:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    own = torch.nn.Sequential(copy.deepcopy(norm), torch.nn.Conv3d(3, 1, 1).double())
    lay_out_channels_last(own)
    assert type(own[0]) is ChannelsLastInstanceNorm3d
    image = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64) * torch.tensor([1.0, 30.0]).view(2, 1, 1, 1, 1)
    first = image.clone().requires_grad_()
    second = image.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    expected, found = norm(first), own[0](second)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    upstream = torch.randn_like(image)
    expected.backward(upstream)
    found.backward(upstream)
    torch.testing.assert_close(second.grad, first.grad)
    if affine:
        torch.testing.assert_close(own[0].weight.grad, norm.weight.grad)
        torch.testing.assert_close(own[0].bias.grad, norm.bias.grad)


@pytest.mark.parametrize(("architecture", "keeps"), [("dynunet", True), ("unet", True), ("segresnet", False)])
def test_a_network_comes_back_as_it_was(architecture: str, keeps: bool) -> None:
    """Laid out it computes the same, with the same parameter objects; undone it is torch's and MONAI's alone."""
    network = build_network(PLAN, 1, architecture=architecture, deep_supervision=True)
    assert keeps_channels_last(network) is keeps
    before, image = copy.deepcopy(network), torch.rand(2, 1, 6, 16, 16)
    objects = dict(network.named_parameters())
    lay_out_channels_last(network)
    assert all(objects[name] is parameter for name, parameter in network.named_parameters())
    for left, right in zip(network(image), before(image), strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-4)
    lay_out_plainly(network)
    assert [type(module) for module in network.modules()] == [type(module) for module in before.modules()]
    assert all(parameter.is_contiguous() for parameter in network.parameters())
    network.eval(), before.eval()
    assert torch.equal(network(image), before(image))


@pytest.mark.parametrize(
    ("architecture", "dtype", "is_laid_out"),
    [("dynunet", torch.bfloat16, True), ("dynunet", None, False), ("segresnet", torch.bfloat16, False)],
)
def test_prediction_is_laid_out_where_it_pays(architecture: str, dtype: torch.dtype | None, is_laid_out: bool) -> None:
    """The probability stays what it was, within bf16; to the last bit where the order stayed.

    Whether another order rounds otherwise is up to the processor, so the order itself is looked at.
    """
    torch.manual_seed(1)
    network = build_network(PLAN, 1, architecture=architecture, deep_supervision=False).eval()
    image = torch.rand(9, 20, 20).numpy()
    before = predict_probability(network, image, (6, 16, 16), 0.5, autocast_dtype=dtype)
    lay_out_for_prediction(network, dtype)
    assert any(type(part) is ChannelsLastInstanceNorm3d for part in network.modules()) is is_laid_out
    after = predict_probability(network, image, (6, 16, 16), 0.5, autocast_dtype=dtype)
    np.testing.assert_allclose(after, before, atol=0.02)
    weights = [part.weight for part in network.modules() if isinstance(part, torch.nn.Conv3d)]
    # the others have no order
    ordered = [weight for weight in weights if weight.shape[1] > 1 and weight[0, 0].numel() > 1]
    assert ordered
    assert all(weight.is_contiguous(memory_format=torch.channels_last_3d) is is_laid_out for weight in ordered)
    assert is_laid_out or np.array_equal(after, before)


def test_a_norm_keeps_its_own_settings_and_parts_their_mode() -> None:
    """Its small constant, no scale where it had none, frozen where it was: there and back."""
    network = torch.nn.Sequential(
        torch.nn.Conv3d(1, 2, 3, padding=1),
        torch.nn.InstanceNorm3d(2, eps=0.5),
        torch.nn.Sequential(torch.nn.InstanceNorm3d(2, affine=True)),
    )
    network[1].eval()
    image = torch.rand(2, 1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = network(image)
    lay_out_channels_last(network)
    torch.testing.assert_close(network(image), expected)
    for _ in range(2):
        assert [network[1].eps, network[1].affine, network[2][0].affine] == [0.5, False, True]
        assert [network[1].training, network[2][0].training] == [False, True]
        lay_out_plainly(network)
    assert torch.equal(network(image), expected)


def test_a_norm_that_remembers_former_batches_cannot_keep_channels_last() -> None:
    """Batch normalisation of one patch has no memory of others, so it would predict something else."""
    assert keeps_channels_last(torch.nn.Sequential(torch.nn.InstanceNorm3d(2)))
    assert not keeps_channels_last(torch.nn.Sequential(torch.nn.InstanceNorm3d(2, track_running_stats=True)))
    assert keeps_channels_last(torch.nn.Conv3d(1, 2, 3))


def test_a_copy_for_channels_last_leaves_the_network_as_it_was() -> None:
    """What is probed is the copy."""
    network = torch.nn.Sequential(torch.nn.Conv3d(2, 2, 3), torch.nn.InstanceNorm3d(2))
    copied = copy_channels_last(network)
    assert copied[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert type(copied[1]) is ChannelsLastInstanceNorm3d
    assert network[0].weight.is_contiguous()
    assert type(network[1]) is torch.nn.InstanceNorm3d
