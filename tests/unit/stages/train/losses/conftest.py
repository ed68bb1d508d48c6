"""Small synthetic vessels that the tests of the losses share."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

Tube = Callable[..., Tensor]


@pytest.fixture
def tube() -> Tube:
    """Straight vessels along x in a patch (1, 1, 11, 24, 32)."""

    def build(radius_voxels: float, *, y: int = 12, gap_voxels: int = 0) -> Tensor:
        zz, yy, xx = np.mgrid[:11, :24, :32]
        inside = (np.hypot(zz - 5, yy - y) <= radius_voxels) & (np.abs(xx - 16) >= gap_voxels / 2)
        return torch.from_numpy(inside)[None, None]

    return build


@pytest.fixture
def axis_of_tube(tube: Tube) -> Tensor:
    """The centreline of the unbroken tubes at y = 12."""
    return tube(0.5)


@pytest.fixture
def as_logits() -> Callable[..., Tensor]:
    """Two-channel logits (float64) of a mask: ±`confidence` between the channels, inside and outside."""

    def build(mask: Tensor, confidence: float = 12.0) -> Tensor:
        half = torch.where(mask, confidence / 2, -confidence / 2).double()
        return torch.cat([-half, half], dim=1)

    return build


@pytest.fixture
def random_case() -> tuple[Tensor, Tensor, Tensor]:
    """Logits (3, 2, 5, 9, 10) in float64, none near the threshold, a noisy label and a skeleton that mostly fits it."""
    rng = np.random.default_rng(7)
    logit = rng.uniform(0.3, 4, size=(3, 1, 5, 9, 10)) * rng.choice([-1, 1], size=(3, 1, 5, 9, 10), p=[0.6, 0.4])
    common = rng.normal(size=logit.shape)
    label = rng.random(logit.shape) < 0.45
    skeleton = (label & (rng.random(logit.shape) < 0.3)) | (rng.random(logit.shape) < 0.02)
    logits = torch.from_numpy(np.concatenate([common, common + logit], axis=1))
    return logits, torch.from_numpy(label.astype(np.uint8)), torch.from_numpy(skeleton.astype(np.uint8))
