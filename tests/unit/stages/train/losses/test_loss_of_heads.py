"""The sum over heads, and the label that a coarse head sees."""

import numpy as np
import pytest
import torch

from stages.train.losses import build_loss
from stages.train.losses.dice_ce import cross_entropy, soft_dice
from stages.train.losses.heads import loss_of_heads, vessel_share


def _label(seed: int = 0) -> torch.Tensor:
    return (torch.rand(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) > 0.7).to(torch.uint8)


def _logits(*shape_zyx: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(2, 2, *shape_zyx, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_head_is_its_loss_to_the_last_bit() -> None:
    """A network without deep supervision trains as if heads did not exist."""
    label, logits, loss = _label(), _logits(4, 8, 8).float(), build_loss("cbdice")
    assert torch.equal(loss_of_heads(loss, [logits], label, label), loss(logits, label, label))


def test_heads_weigh_one_half_quarter_and_only_the_first_has_the_named_loss() -> None:
    """By hand: (4·L₀ + 2·L₁ + L₂) / 7 with NumPy's block means as coarse labels."""
    label, loss = _label(), build_loss("cbdice")
    heads = [_logits(4, 8, 8), _logits(4, 4, 4, seed=2), _logits(2, 2, 2, seed=3)]
    expected = 4 * loss(heads[0], label, label)
    for weight, head, blocks in ((2, heads[1], (4, 1, 4, 2, 4, 2)), (1, heads[2], (2, 2, 2, 4, 2, 4))):
        share = torch.from_numpy(label[:, 0].double().numpy().reshape(2, *blocks).mean(axis=(2, 4, 6)))[:, None]
        logit = head[:, 1:] - head[:, :1]
        expected = expected + weight * (cross_entropy(logit, share) + 1 - soft_dice(logit.sigmoid(), share))
    torch.testing.assert_close(loss_of_heads(loss, heads, label, label), expected / 7)


def test_a_vessel_of_one_voxel_vanishes_from_no_coarse_label_wherever_it_lies() -> None:
    """Every shift of the line keeps the whole volume; the nearest voxel would lose it for every other shift."""
    for row in range(8):
        label = torch.zeros(1, 1, 4, 8, 8, dtype=torch.uint8)
        label[..., row, :] = 1
        share = vessel_share(label, torch.zeros(1, 1, 4, 4, 4))
        assert float(share.sum()) * 4 == float(label.sum())
        assert float(share.max()) == 0.5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64])
def test_shares_are_block_means_for_every_type_of_label(dtype: torch.dtype) -> None:
    """Against NumPy, in the logits' type."""
    label = _label()
    share = vessel_share(label.to(dtype), _logits(2, 4, 2))
    expected = label[:, 0].numpy().reshape(2, 2, 2, 4, 2, 2, 4).mean(axis=(2, 4, 6))
    assert share.dtype == torch.float64
    np.testing.assert_array_equal(share[:, 0].numpy(), expected)


def test_the_gradient_reaches_every_head() -> None:
    """Finite differences in float64, through all terms."""
    label, loss = _label(), build_loss("dice_ce")
    heads = [_logits(4, 8, 8).requires_grad_(), _logits(2, 4, 4, seed=2).requires_grad_()]
    assert torch.autograd.gradcheck(
        lambda *given: loss_of_heads(loss, given, label, label), heads, fast_mode=True, atol=1e-8
    )


def test_the_best_logits_of_a_coarse_head_are_finite_where_voxels_are_half_vessel() -> None:
    """A share between 0 and 1 is reached at a finite logit, and a right guess costs less than a wrong one."""
    label = torch.zeros(2, 1, 4, 8, 8, dtype=torch.uint8)
    label[..., ::2, :] = 1
    full = torch.stack([-20.0 * (label[:, 0] * 2.0 - 1), 20.0 * (label[:, 0] * 2.0 - 1)], dim=1)
    guesses = {value: torch.zeros(2, 2, 2, 4, 4) for value in (-4.0, 0.0, 4.0)}
    for value, guess in guesses.items():
        guess[:, 1] = value
    costs = {
        value: float(loss_of_heads(build_loss("dice_ce"), [full, guess], label, label))
        for value, guess in guesses.items()
    }
    assert costs[0.0] < costs[4.0] < costs[-4.0]
