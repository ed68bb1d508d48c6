"""Does another backend decide as torch does in float32? Asked of the real network, on patches that look like vessels.

The patches follow from the network's card alone. So the answer is the same for every stack, in every stage, and again
tomorrow; only another processor or another version of a library can change it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from stages.common.imaging.zyx import Shape
from stages.common.tracking.cards.card import ModelCard

EQUAL_SHARE = 0.999  # of the decisions, at each threshold
THRESHOLDS = tuple(step / 10 for step in range(1, 10))  # whatever evaluation.threshold is, one of them is near
# Mean deviation of the logits, relative to their root mean square. bf16 stays below 0.02. It finds wrong kernels also
# where the network is so sure that no decision changes.
MOST_ERROR = 0.05
_SEED, _VOXELS_PER_VESSEL = 2026, 9000
_NOISE, _BRIGHTNESS = 0.04, 0.6


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """`equal_share` is that of the threshold with the most differences; `error` is relative, as MOST_ERROR."""

    equal_share: float
    error: float

    @property
    def is_equal(self) -> bool:
        """Whether both backends may stand for each other. NaN is not."""
        return self.equal_share >= EQUAL_SHARE and self.error <= MOST_ERROR

    def words(self) -> str:
        """For a line of the log."""
        return f"{self.equal_share:.3%} of decisions as torch's fp32"


def compare(exact: torch.Tensor, found: torch.Tensor) -> Evidence:
    """Of the logits of another backend, `found`, against torch's in float32."""
    decided = [(torch.sigmoid(exact) > at) == (torch.sigmoid(found) > at) for at in THRESHOLDS]
    share = min(float(equal.double().mean()) for equal in decided)
    size = max(float(exact.double().square().mean().sqrt()), 1e-12)
    return Evidence(equal_share=share, error=float((found - exact).double().abs().mean()) / size)


def probe_patches(card: ModelCard) -> torch.Tensor:
    """Two patches (2, 1, z, y, x): bright vessels on a dark ground, and the reverse, on the scale of the training."""
    vessels = _vessels(card.patch_voxels)
    return torch.from_numpy(np.stack([_as_trained(one, card)[None] for one in (vessels, vessels.max() - vessels)]))


def _vessels(shape_zyx: Shape) -> NDArray[np.float32]:
    """Random walks of two widths with noise, from 0 on."""
    random = np.random.default_rng(_SEED)
    size = np.array(shape_zyx)
    lines = np.zeros((2, *shape_zyx), dtype=np.float32)
    for number in range(max(2, lines[0].size // _VOXELS_PER_VESSEL)):
        place, heading = random.uniform(0, size), random.normal(size=3)
        for _ in range(2 * max(shape_zyx)):
            heading = 0.9 * heading + 0.3 * random.normal(size=3)
            place = place + heading / np.linalg.norm(heading)
            z, y, x = place.astype(int) % size
            lines[number % 2, z, y, x] = 1
    wide = [gaussian_filter(line, sigma) for line, sigma in zip(lines, (0.8, 1.6), strict=True)]
    drawn = sum(_BRIGHTNESS * one / max(float(one.max()), 1e-6) for one in wide)
    noisy = drawn + _NOISE * random.standard_normal(shape_zyx, dtype=np.float32)
    return np.asarray(noisy - noisy.min(), dtype=np.float32)


def _as_trained(image: NDArray[np.float32], card: ModelCard) -> NDArray[np.float32]:
    """`image` with the quartiles of the training's stacks, as far as the card says, else those of its normalisation."""
    first, third = np.percentile(image, (25, 75))
    low, high = _quartiles(card)
    scaled = (image - first) / max(float(third - first), 1e-6) * (high - low) + low
    return np.asarray(np.clip(scaled, 0, 1) if card.recipe.normalisation == "percentile" else scaled, dtype=np.float32)


def _quartiles(card: ModelCard) -> tuple[float, float]:
    domain = card.domain
    if domain is not None and {"quartile_1", "quartile_3"} <= domain.lowest.keys():
        low, high = ((domain.lowest[name] + domain.highest[name]) / 2 for name in ("quartile_1", "quartile_3"))
        if high > low:
            return low, high
    return (-0.7, 0.4) if card.recipe.normalisation == "zscore" else (0.1, 0.3)
