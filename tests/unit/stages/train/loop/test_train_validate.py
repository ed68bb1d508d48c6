import numpy as np
import pytest
import torch

from stages.common.volumes import Volume
from stages.train.loop.validate import dice, validation_dsc


class _BrightIsVessel(torch.nn.Module):
    """Logits from the image itself: vessel where it is brighter than 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, z, y, x) to (B, 2, z, y, x)."""
        return torch.cat([torch.zeros_like(image), 100 * (image - 0.5)], dim=1)


def test_the_score_is_the_mean_dice_over_whole_volumes(volumes: list[Volume]) -> None:
    """Compared with thresholding the images directly, for volumes larger and smaller than the patch."""
    expected = np.mean([dice(volume.image() > 0.5, volume.label() > 0) for volume in volumes])
    seen = []
    score = validation_dsc(_BrightIsVessel(), volumes, (4, 16, 16), None, between_volumes=lambda: seen.append(1))
    assert score == pytest.approx(float(expected), abs=1e-6)
    assert len(seen) == len(volumes)


def test_dice_by_hand() -> None:
    """Two of three and two of four voxels shared: 4/7; both empty: 1; one empty: 0."""
    a = np.array([1, 1, 1, 0, 0], bool)
    b = np.array([0, 1, 1, 1, 1], bool)
    empty = np.zeros(5, bool)
    assert dice(a, b) == pytest.approx(4 / 7)
    assert dice(empty, empty) == 1
    assert dice(a, empty) == 0
