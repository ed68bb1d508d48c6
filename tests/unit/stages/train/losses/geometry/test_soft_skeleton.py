from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stages.train.losses.geometry.morphology import morphological_skeleton
from stages.train.losses.geometry.soft_skeleton import soft_skeleton
from tests.unit.stages.train.losses.geometry.pooled_skeleton import pooled_skeleton


def distinct_values(shape: tuple[int, ...]) -> Tensor:
    """Noise in (0, 1) in float64, no two values alike."""
    count = torch.Size(shape).numel()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(4))
    return ((order + 0.5) / count).double().view(shape)


@pytest.mark.parametrize("shape", [(2, 1, 5, 12, 13), (1, 1, 1, 9, 9), (1, 1, 2, 1, 7)])
@pytest.mark.parametrize("rounds", [0, 1, 4])
def test_value_and_gradient_are_those_of_the_published_algorithm(shape: tuple[int, ...], rounds: int) -> None:
    """Pooling with autograd, round by round as the paper writes it, gives the same on noise."""
    ours, theirs = (distinct_values(shape).requires_grad_() for _ in range(2))
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, expected = soft_skeleton(ours, rounds), pooled_skeleton(theirs, rounds)
    torch.testing.assert_close(found, expected)
    found.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_gradient_agrees_with_finite_differences() -> None:
    """Away from ties the soft skeleton is smooth."""
    image = distinct_values((1, 1, 4, 6, 6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_skeleton(x, 3), (image,), eps=1e-6)


def test_on_masks_it_is_the_morphological_skeleton(tube: Callable[..., Tensor]) -> None:
    """Of 0 and 1 nothing but 0 and 1, once there are as many rounds as the radius."""
    for mask in (tube(1), tube(4), tube(2.5, gap_voxels=6)):
        assert torch.equal(soft_skeleton(mask.float()), morphological_skeleton(mask).float())


def test_stays_within_0_and_1_and_is_silent_on_an_even_image(tube: Callable[..., Tensor]) -> None:
    """Neither fog nor a full patch has a centreline; saturated values of 0 and 1 break nothing."""
    noise = torch.rand(2, 1, 6, 20, 20, generator=torch.Generator().manual_seed(2))
    saturated = torch.where(noise > 0.7, 1.0, torch.where(noise < 0.3, 0.0, noise)).requires_grad_()
    skeleton = soft_skeleton(saturated)
    assert skeleton.min() >= 0
    assert skeleton.max() <= 1
    skeleton.sum().backward()
    assert saturated.grad is not None
    assert torch.isfinite(saturated.grad).all()
    for level in (0.0, 0.5, 1.0):
        assert not soft_skeleton(torch.full((1, 1, 5, 8, 8), level)).any()


def test_a_vessel_that_brightens_pulls_its_axis_up(tube: Callable[..., Tensor], axis_of_tube: Tensor) -> None:
    """The gradient of the centreline's sum lies on the centreline; around the vessel there is little."""
    image = (tube(3).double() * 0.6 + distinct_values(tuple(tube(3).shape)) * 0.1).requires_grad_()
    soft_skeleton(image)[axis_of_tube].sum().backward()
    assert image.grad is not None
    assert image.grad[axis_of_tube].mean() > 0.3
    assert image.grad[axis_of_tube].mean() > 10 * image.grad[~tube(3)].abs().mean()
