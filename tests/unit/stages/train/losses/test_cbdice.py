import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from stages.common.imaging.masks.skeleton import skeleton as thinned
from stages.train.losses.cbdice import CbDiceLoss, centreline_boundary_dice
from stages.train.losses.dice_ce import cross_entropy, soft_dice
from stages.train.losses.geometry.morphology import morphological_skeleton
from tests.unit.stages.train.losses.published import cases

Case = tuple[Tensor, Tensor, Tensor]
Volume = NDArray[np.float64]


def brute_distance(mask: NDArray[np.bool_]) -> Volume:
    """Smallest of all distances to background voxels, pair by pair."""
    background = np.argwhere(~mask)
    distance = np.zeros(mask.shape)
    for voxel in np.argwhere(mask):
        distance[tuple(voxel)] = np.sqrt(((background - voxel) ** 2).sum(axis=1).min())
    return distance


def brute_skeleton(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    skeleton = np.zeros_like(mask)
    while mask.any():
        eroded = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1), border_value=1)
        skeleton |= mask & ~ndimage.binary_dilation(eroded, np.ones((3, 3, 3)))
        mask = eroded
    return skeleton


def weights(mask: NDArray[np.bool_], skeleton: NDArray[np.bool_], p: Volume) -> tuple[Volume, Volume, Volume]:
    """Q_V, Q_S,V and Q_S of one patch, as the published code computes them, its 1e-7 included."""
    distance = brute_distance(mask)
    radius = np.where(skeleton, distance, 0)
    radius_max = max(radius.max(), 1)
    radius_share = radius / radius_max
    inverse = np.where(skeleton, (1 + 1e-7) / (radius_share**2 + 1e-7), 0)
    return np.minimum(distance, radius_max) / radius_max * p, radius_share * p, inverse * p


def brute_cbdice(probability: Volume, label: NDArray[np.bool_], skeleton: NDArray[np.bool_]) -> float:
    """Equations (2) to (4), voxel by voxel."""
    sums = np.zeros(4)
    for p, mask, line in zip(probability, label, skeleton, strict=True):
        q_vl, q_slvl, q_sl = weights(mask, line, np.ones_like(p))
        q_vp, q_spvp, q_sp = weights(p > 0.5, brute_skeleton(p > 0.5), p)
        for at in itertools.product(*map(range, p.shape)):
            sums += (
                q_sp[at] * q_vl[at],
                q_sp[at] * (q_slvl[at] if q_slvl[at] > 0 else q_spvp[at]),
                q_sl[at] * q_vp[at],
                q_sl[at] * (q_spvp[at] if q_spvp[at] > 0 else q_slvl[at]),
            )
    precision, sensitivity = (sums[0] + 1e-3) / (sums[1] + 1e-3), (sums[2] + 1e-3) / (sums[3] + 1e-3)
    return float(2 * precision * sensitivity / (precision + sensitivity))


def cbdice(probability: Tensor, label: Tensor, line: Tensor) -> Tensor:
    """cbDice with `line` for the label's skeleton, and the morphological one of the prediction."""
    return centreline_boundary_dice(probability, label, line, morphological_skeleton(probability > 0.5))


def test_equals_brute_force_on_noise(random_case: Case) -> None:
    """The formula, computed voxel by voxel from distances of all pairs, on irregular masks."""
    logits, label, skeleton = random_case
    line = skeleton.bool() & label.bool()
    probability = (logits[:, 1:] - logits[:, :1]).sigmoid()
    found = cbdice(probability, label.bool(), line)
    expected = brute_cbdice(probability[:, 0].numpy(), label[:, 0].bool().numpy(), line[:, 0].numpy())
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_equals_brute_force_on_vessels(tube: Callable[..., Tensor], axis_of_tube: Tensor) -> None:
    """The same on a batch of tubes with several radii, one thinner, displaced and broken, with unsure edges."""
    label = torch.cat([tube(3), tube(2)])[:, :, :, 4:22, 6:24]
    guess = torch.cat([tube(2, y=13), tube(3, gap_voxels=5)])[:, :, :, 4:22, 6:24]
    line = torch.cat([axis_of_tube, axis_of_tube])[:, :, :, 4:22, 6:24]
    noise = torch.rand(guess.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    probability = torch.where(guess, 0.51 + 0.48 * noise, 0.49 * noise)
    found = cbdice(probability, label, line)
    expected = brute_cbdice(probability[:, 0].numpy(), label[:, 0].numpy(), line[:, 0].numpy())
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.fixture
def thick_and_thin() -> tuple[Tensor, Tensor, Tensor]:
    """Two bars of length 8 along x, 3 × 3 (R = 2) and 1 × 1 (R = 1), and both their axes."""
    thick, thin = torch.zeros(2, 1, 1, 7, 11, 8, dtype=torch.bool)
    thick[:, :, 2:5, 2:5] = True
    thin[:, :, 3, 8] = True
    axes = thin.clone()
    axes[:, :, 3, 3] = True
    return thick, thin, axes


def test_hand_computed_missing_vessels(thick_and_thin: tuple[Tensor, Tensor, Tensor]) -> None:
    """R_max = 2, so 8 thick centreline voxels weigh 1 with D̂ = 1, 8 thin ones weigh 4 with D̂ = ½.

    Without the thin bar Tprec = 1, Tsens = 8 / (8 + 16) = 1/3, cbDice = 1/2. Without the thick bar the prediction's own
    R_max is 1: Tprec = 1, Tsens = 32 / (32 + 8) = 4/5, cbDice = 8/9. A Dice would say the opposite.
    """
    thick, thin, axes = thick_and_thin
    label = thick | thin
    assert cbdice(thick.double(), label, axes).item() == pytest.approx(1 / 2, abs=1e-4)
    assert cbdice(thin.double(), label, axes).item() == pytest.approx(8 / 9, abs=1e-4)
    assert cbdice(label.double(), label, axes).item() == pytest.approx(1, abs=1e-12)


def test_loss_is_the_sum_of_its_published_terms(random_case: Case) -> None:
    """L = 2·CE + (1 − Dice) + (1 − cbDice)."""
    logits, label, skeleton = random_case
    logit, target = logits[:, 1:] - logits[:, :1], label.double()
    term = cbdice(logit.sigmoid(), label.bool(), morphological_skeleton(label.bool()))
    expected = 2 * cross_entropy(logit, target) + 2 - soft_dice(logit.sigmoid(), target) - term
    torch.testing.assert_close(CbDiceLoss()(logits, label, skeleton), expected)


def test_cbdice_falls_with_every_longer_gap_and_every_further_shift(
    tube: Callable[..., Tensor], axis_of_tube: Tensor
) -> None:
    """The term by itself, without the help of cross-entropy and Dice."""
    for masks in (
        [tube(3), *(tube(3, gap_voxels=gap) for gap in (2, 4, 8, 16, 40))],
        [tube(3), *(tube(3, y=12 + shift) for shift in (1, 2, 3, 4))],
    ):
        values = [cbdice(mask.double(), tube(3), axis_of_tube).item() for mask in masks]
        assert values[0] == pytest.approx(1, abs=1e-6)
        assert values == sorted(set(values), reverse=True)


def test_a_vessel_that_is_not_there_costs_on_an_empty_label(tube: Callable[..., Tensor], axis_of_tube: Tensor) -> None:
    """No vessel and none found is right; one found where none is gives next to no overlap."""
    empty = torch.zeros_like(axis_of_tube)
    assert cbdice(empty.double(), empty, empty) == 1
    assert cbdice(tube(2).double(), empty, empty) < 1e-3
    assert cbdice(empty.double(), tube(2), axis_of_tube) < 1e-3


def test_gradient_acts_on_the_centrelines_only(tube: Callable[..., Tensor], axis_of_tube: Tensor) -> None:
    """Hard skeletons are detached: cbDice moves the probability on a found stretch of either centreline, nothing else.

    A false vessel is pushed down, a vessel found beside its centreline is pulled up.
    """
    label, false_vessel = tube(3), tube(1, y=20)
    guess = tube(3, y=13) | false_vessel
    probability = (guess.double() * 0.8 + 0.1).requires_grad_()
    (gradient,) = torch.autograd.grad(1 - cbdice(probability, label, axis_of_tube), probability)
    assert not gradient[~guess].any()
    assert (gradient[false_vessel] >= 0).all()
    assert (gradient[false_vessel] > 0).any()
    assert (gradient[axis_of_tube] < 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_perfect_prediction_costs_nothing(seed: int, as_logits: Callable[..., Tensor]) -> None:
    """Also where the label's own centreline, of the whole volume, runs otherwise than the patch's."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((2, 12, 24, 24)), (0, 1.5, 2, 2))
    label = torch.from_numpy(smooth > np.quantile(smooth, 0.7))[:, None]
    skeleton = torch.from_numpy(np.stack([thinned(one) for one in label[:, 0].numpy()]))[:, None]
    assert not torch.equal(skeleton, morphological_skeleton(label))
    assert CbDiceLoss()(as_logits(label, 40.0), label, skeleton).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("exact", 1.0),
        ("shifted", 0.716575026512146),
        ("thicker", 1.0),
        ("broken", 0.6559680104255676),
        ("batch", 0.6904676556587219),
    ],
)
def test_equals_the_authors_code_with_given_skeletons(name: str, published: float) -> None:
    """Figures of loss/cbdice_loss.py in their repository, state of 13 October 2024 (division by the squared radius),
    with its `smooth` at 1e-3 and both skeletons given.
    """
    assert centreline_boundary_dice(*cases()[name]).item() == pytest.approx(published, abs=1e-6)
