"""What every architecture of the catalogue promises; a new one is tested here without its own line."""

import pickle
from itertools import product

import numpy as np
import pytest
import torch

from stages.common.errors import ParamsError
from stages.common.imaging.zyx import Shape
from stages.common.inference import predict_probability
from stages.common.networks.catalogue import ARCHITECTURES, build_network
from stages.common.networks.kernel_rule import KernelRule
from stages.common.networks.plan import NetworkPlan, plan_network
from stages.common.networks.supervision import heads_of, plain
from stages.common.networks.weights import weights_sha256

SPACINGS_UM = [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (8.0, 0.5, 0.5)]
PATCHES = [(1, 16, 24), (2, 16, 16), (5, 16, 16), (8, 24, 16), (12, 16, 16)]

each_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


def _plan(spacing_um: tuple[float, float, float] = (3.0, 1.0, 1.0), patch: Shape = (5, 16, 16)) -> NetworkPlan:
    return plan_network(spacing_um=spacing_um, patch_voxels=patch, filters=(2, 4, 6))


def _build(name: str, plan: NetworkPlan, seed: int = 0, heads: bool = False) -> torch.nn.Module:
    return build_network(plan, seed, architecture=name, deep_supervision=heads)


@each_architecture
@pytest.mark.parametrize(("spacing_um", "patch"), list(product(SPACINGS_UM, PATCHES)))
def test_a_patch_gives_two_channels_of_its_size(
    name: str, spacing_um: tuple[float, float, float], patch: Shape
) -> None:
    """Thin and thick patches of coarse and fine sections; the heads have the extents of the plan's levels."""
    plan = _plan(spacing_um, patch)
    network, image = _build(name, plan, heads=True), torch.rand(1, 1, *patch)
    heads = heads_of(network(image))
    assert [tuple(head.shape) for head in heads] == [(1, 2, *size) for size in plan.extents_voxels()[: len(heads)]]
    assert network.eval()(image).shape == (1, 2, *patch)


@each_architecture
@pytest.mark.parametrize("rule", KernelRule)
def test_every_convolution_keeps_to_axes_of_at_least_three_voxels(name: str, rule: KernelRule) -> None:
    """A patch of 8 cubic voxels' depth is halved to 4 and never to 2, where bf16 gradients are wrong on a CPU."""
    plan = plan_network(spacing_um=(1.0, 1.0, 1.0), patch_voxels=(8, 32, 32), filters=(2, 4, 6, 8), kernel_rule=rule)
    network = _build(name, plan)
    seen: list[tuple[Shape, Shape]] = []
    for part in network.modules():
        if isinstance(part, torch.nn.Conv3d):
            part.register_forward_hook(lambda part, given, _: seen.append((part.kernel_size, given[0].shape[2:])))
    network(torch.rand(1, 1, 8, 32, 32))
    assert seen
    assert all(size >= 3 for kernel, extent in seen for width, size in zip(kernel, extent, strict=True) if width == 3)


@each_architecture
@pytest.mark.parametrize("heads", [False, True])
def test_every_parameter_gets_a_finite_gradient(name: str, heads: bool) -> None:
    """Nothing is trained for nothing, and nothing is left out of the checkpoint's optimiser."""
    network = _build(name, _plan(), heads=heads)
    sum(head.square().mean() for head in heads_of(network(torch.rand(2, 1, 5, 16, 16)))).backward()  # type: ignore[union-attr]  # at least one head
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name


@each_architecture
def test_patches_of_a_batch_do_not_see_each_other(name: str) -> None:
    """What gradient caching needs to be exact: no normalisation over the batch."""
    network, images = _build(name, _plan()).double(), torch.rand(3, 1, 5, 16, 16, dtype=torch.float64)
    together, alone = network(images), torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone)


@each_architecture
def test_weights_follow_from_the_seed_with_or_without_heads(name: str) -> None:
    """One seed, one network; torch's own draws are the same before and after."""
    before = torch.get_rng_state()
    bare, again, supervised, other = (
        weights_sha256(plain(_build(name, _plan(), seed, heads)))
        for seed, heads in ((1, False), (1, False), (1, True), (2, False))
    )
    assert torch.equal(before, torch.get_rng_state())
    assert bare == again == supervised
    assert bare != other


@each_architecture
def test_what_is_registered_pickles_and_holds_no_class_of_this_project(name: str) -> None:
    """It comes back in a stage that does not see the training code, and predicts the same."""
    network, image = plain(_build(name, _plan(), heads=True)).eval(), torch.rand(1, 1, 5, 16, 16)
    assert {type(part).__module__.split(".")[0] for part in network.modules()} <= {"monai", "torch"}
    torch.testing.assert_close(pickle.loads(pickle.dumps(network))(image), network(image), rtol=0, atol=0)


@each_architecture
@pytest.mark.parametrize("depth", [5, 110])
def test_stacks_thinner_and_thicker_than_the_patch_are_predicted(name: str, depth: int) -> None:
    """Straight after training, with heads in place: validation sees full resolution only."""
    patch = (12, 16, 16)
    network = _build(name, _plan(patch=patch), heads=True)
    image = np.random.default_rng(0).random((depth, 20, 18), dtype=np.float32)
    probability = predict_probability(network, image, patch, overlap=0.25)
    assert probability.shape == image.shape
    np.testing.assert_array_equal(probability, predict_probability(plain(network), image, patch, overlap=0.25))
    assert network.training


def test_a_wrong_name_is_refused_with_the_nearest_right_one() -> None:
    """The value, the key and the nearest name."""
    with pytest.raises(ParamsError, match="did you mean `segresnet`") as refusal:
        _build("segresnt", _plan())
    assert "training.architecture" in refusal.value.remedy


@pytest.mark.parametrize("name", [name for name, known in ARCHITECTURES.items() if known.decode is not None])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_the_supervised_forward_pass_is_the_networks_own(name: str, dtype: torch.dtype | None) -> None:
    """Bit for bit, in the training's arithmetic too: looking into the decoder computes nothing else."""
    network, image = _build(name, _plan(), heads=True), torch.rand(2, 1, 5, 16, 16)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        assert torch.equal(heads_of(network(image))[0], heads_of(plain(network)(image))[0])


def test_an_architecture_without_a_visible_decoder_is_trained_without_heads_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The default switch does not forbid such a network."""
    assert isinstance(_build("unet", _plan(), heads=True)(torch.rand(1, 1, 5, 16, 16)), torch.Tensor)
    assert "unet shows no decoder" in capsys.readouterr().out
