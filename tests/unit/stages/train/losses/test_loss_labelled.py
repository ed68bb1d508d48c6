"""What nobody labelled has no part in a loss: each of the catalogue, and the loss of several heads."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stages.train.losses import LOSSES, Loss, build_loss
from stages.train.losses.cldice import centreline_dice
from stages.train.losses.geometry.morphology import morphological_skeleton
from stages.train.losses.geometry.soft_skeleton import soft_skeleton
from stages.train.losses.heads import loss_of_heads
from tests.unit.stages.train.losses.finite_differences import finite_differences

Case = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(params=sorted(LOSSES))
def loss(request: pytest.FixtureRequest) -> Loss:
    return build_loss(request.param)


def regions(shape: torch.Size) -> dict[str, Tensor]:
    """Labelled voxels: scattered, whole slices, a box, and next to none."""
    scattered = torch.rand(shape, generator=torch.Generator().manual_seed(3)) < 0.4
    slices, box, one, none = (torch.zeros(shape, dtype=torch.bool) for _ in range(4))
    slices[:, :, ::2] = True
    box[:2, :, 2:5, 2:7, 2:8] = True
    one[0, 0, 2, 3, 3] = True
    return {"scattered": scattered, "slices": slices, "box": box, "one voxel": one, "nothing": none}


def value_and_gradient(loss: Callable[..., Tensor], logits: Tensor, *masks: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, *masks)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@pytest.mark.parametrize("region", ["scattered", "slices", "box", "one voxel", "nothing"])
def test_neither_value_nor_gradient_hangs_on_what_is_not_labelled(loss: Loss, random_case: Case, region: str) -> None:
    """To the last bit: whatever logits (NaN too), label and skeleton hold there, and its own gradient is 0."""
    logits, label, skeleton = random_case
    known = regions(label.shape)[region]
    other = torch.where(known, logits, torch.randn_like(logits).masked_fill(torch.rand_like(logits) < 0.1, torch.nan))
    value, gradient = value_and_gradient(loss, logits, label, skeleton, known)
    masks = (torch.where(known, mask, 1 - mask) for mask in (label, skeleton))
    value_other, gradient_other = value_and_gradient(loss, other, *masks, known.to(torch.uint8))
    assert torch.isfinite(value)
    assert torch.equal(value, value_other)
    assert torch.equal(gradient, gradient_other)
    assert not gradient[~known.expand_as(gradient)].any()


def test_a_batch_that_is_labelled_throughout_computes_as_ever(loss: Loss, random_case: Case) -> None:
    """Bit for bit, with and without the mask; in the loss of several heads, too."""
    logits, label, skeleton = random_case
    everywhere = torch.ones_like(label)
    plain = value_and_gradient(loss, logits.float(), label, skeleton)
    masked = value_and_gradient(loss, logits.float(), label, skeleton, everywhere)
    assert all(torch.equal(a, b) for a, b in zip(plain, masked, strict=True))
    coarse = logits[..., ::3, ::2]
    heads = [logits, coarse]
    assert torch.equal(
        loss_of_heads(loss, heads, label, skeleton), loss_of_heads(loss, heads, label, skeleton, everywhere)
    )


def test_gradient_of_a_part_agrees_with_finite_differences(loss: Loss, random_case: Case) -> None:
    """In float64, away from the threshold of the hard masks."""
    logits, label, skeleton = (part[:2, :, :3, :4, :4].contiguous() for part in random_case)
    known = regions(label.shape)["scattered"]
    _, gradient = value_and_gradient(loss, logits, label, skeleton, known)
    expected = finite_differences(lambda moved: loss(moved, label, skeleton, known), logits)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-8)


def test_a_perfect_prediction_of_the_labelled_part_costs_nothing(loss: Loss, random_case: Case) -> None:
    """However wrong it is elsewhere."""
    _, label, skeleton = random_case
    for known in regions(label.shape).values():
        half = torch.where(known, label.float() * 2 - 1, 1 - label.float() * 2) * 20
        assert loss(torch.cat([-half, half], dim=1), label, skeleton, known).item() == pytest.approx(0, abs=1e-5)


def test_a_labelled_box_costs_what_its_patch_would(loss: Loss, random_case: Case) -> None:
    """What is not labelled is what lies beyond a patch, neither more nor less."""
    logits, label, skeleton = random_case
    known = torch.zeros_like(label)
    known[:, :, 2:5, 2:7, 2:8] = 1
    cut = (part[:, :, 2:5, 2:7, 2:8].contiguous() for part in (logits, label, skeleton))
    torch.testing.assert_close(loss(logits, label, skeleton, known), loss(*cut))


def test_coarse_heads_see_the_labelled_part_of_a_voxel(random_case: Case) -> None:
    """A coarse voxel without any labelled one has no say; the target of another is its labelled part's."""
    logits, label, skeleton = random_case
    known = torch.zeros_like(label)
    known[..., :6, :5] = 1  # of coarse rows of 3, two; of coarse columns of 2, two and a half
    coarse = logits[..., ::3, ::2].clone()
    first = loss_of_heads(build_loss("dice_ce"), [logits, coarse], label, skeleton, known)
    coarse[..., 2, :], coarse[..., 3:] = 77, -9
    other = torch.where(known > 0, label, 1 - label)
    assert torch.equal(first, loss_of_heads(build_loss("dice_ce"), [logits, coarse], other, skeleton, known))


def test_an_unlabelled_gap_does_not_erode(tube: Callable[..., Tensor], axis_of_tube: Tensor) -> None:
    """A vessel that is labelled in one slice keeps its centreline in that slice, as if the patch ended there."""
    mask = tube(3)
    unknown = torch.ones_like(mask)
    unknown[:, :, 5] = False
    seen = mask & ~unknown
    expected = morphological_skeleton(seen[:, :, 5:6])
    assert torch.equal(morphological_skeleton(seen, unknown)[:, :, 5:6], expected)
    assert torch.equal(soft_skeleton(seen.double(), unknown=unknown)[:, :, 5:6], expected.double())
    assert centreline_dice(seen.double(), seen.double(), axis_of_tube.double(), ~unknown) > 0.99
