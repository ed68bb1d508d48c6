"""Tiles from and to the disk give what the whole volume in memory gives."""

import math
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monai.inferers.utils import sliding_window_inference
from numpy.typing import NDArray

from stages.common.inference import SIGMA_SCALE, Flips, patch_probability, predict_probability
from stages.common.tiling.tiles import Tiling, predict_slices, tile
from stages.common.tiling.volume import DiskVolume

Shape = tuple[int, int, int]
ROUNDING = 2.0**-24  # relative rounding error of float32


class Neighbours(torch.nn.Module):
    """Logits from a voxel and its next neighbour along each axis, zero-padded.

    Computed in float64, because float32 results would depend on the batch size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(3 * torch.randn((2, 4), dtype=torch.float64))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        own = patches.double()
        padded = torch.nn.functional.pad(own, (0, 1) * 3)
        behind = padded[:, :, 1:, :-1, :-1], padded[:, :, :-1, 1:, :-1], padded[:, :, :-1, :-1, 1:]
        seen = torch.cat([own, *behind], dim=1)
        return torch.einsum("lc,bczyx->blzyx", self.weights, seen)


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return Neighbours().eval()


def by_tiles(
    model: torch.nn.Module, image_zyx: NDArray[np.float32], patch: Shape, overlap: float, ring: Path, batch: int = 7
) -> NDArray[np.float32]:
    """`image_zyx` through predict_slices, with the image in memory."""
    tiling = tile(image_zyx.shape, patch, overlap)
    counted = []

    def read(z: slice, y: slice) -> NDArray[np.float32]:
        return image_zyx[z, y]

    def predict(patches: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return patch_probability(model, patches, None, "none")

    slices = list(predict_slices(read, predict, tiling, ring, batch, lambda: counted.append(1)))
    assert len(counted) == tiling.bands
    assert not ring.exists()
    return np.stack(slices)


def by_monai(
    model: torch.nn.Module, image_zyx: NDArray[np.float32], patch: Shape, overlap: float
) -> NDArray[np.float64]:
    """MONAI's sliding window over the whole volume, summed in float64."""
    with torch.inference_mode():
        found = sliding_window_inference(
            torch.from_numpy(image_zyx).double()[None, None],
            roi_size=patch,
            sw_batch_size=64,
            predictor=lambda patches: patch_probability(model, patches, None, "none"),
            overlap=overlap,
            mode="gaussian",
            sigma_scale=SIGMA_SCALE,
            padding_mode="replicate",
        )
    assert isinstance(found, torch.Tensor)
    return found[0, 0].numpy()


def most_patches_on_a_voxel(tiling: Tiling) -> int:
    """The largest number of patches that overlap at one voxel."""
    return math.prod(
        max(sum(start <= place < start + axis.patch for start in axis.starts) for place in range(axis.size))
        for axis in tiling.axes
    )


@settings(max_examples=30, deadline=None, derandomize=True)
@example(shape=(8, 14, 7), patch=(6, 3, 4), overlap=0.7)
@given(
    shape=st.tuples(st.integers(1, 14), st.integers(1, 22), st.integers(1, 22)),
    patch=st.tuples(st.integers(1, 7), st.integers(3, 10), st.integers(3, 10)),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
)
def test_tiles_equal_the_whole_volume(
    tmp_path_factory: pytest.TempPathFactory, shape: Shape, patch: Shape, overlap: float
) -> None:
    """Any volume, patch and overlap: the probability equals MONAI's for the whole volume, up to float32 rounding.

    Where n patches overlap, n weighted probabilities are summed in float32. Each of the n - 1 additions has a relative
    error of at most 2⁻²⁴, and the result is at most 1. Weights, products and the division add a few such errors.
    MONAI's sums are float64 here, so (n + 8) · 2⁻²⁴ bounds the difference.
    """
    image = np.random.default_rng(1).random(shape, dtype=np.float32)
    found = by_tiles(network(), image, patch, overlap, tmp_path_factory.getbasetemp() / "ring")
    patches = most_patches_on_a_voxel(tile(shape, patch, overlap))
    expected = by_monai(network(), image, patch, overlap)
    np.testing.assert_allclose(found, expected, rtol=0, atol=(patches + 8) * ROUNDING)


def test_tiles_equal_the_prediction_in_memory(tmp_path: Path) -> None:
    """evaluate in memory and predict on disk agree; both sum up to 8 overlapping patches in float32."""
    image = np.random.default_rng(6).random((9, 20, 31), dtype=np.float32)
    found = by_tiles(network(), image, (4, 8, 8), 0.5, tmp_path / "ring")
    expected = predict_probability(network(), image, (4, 8, 8), 0.5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2 * (8 + 8) * ROUNDING)


def test_the_batch_changes_rounding_only(tmp_path: Path) -> None:
    """The batch size does not change the result: patches are always summed in the same order."""
    image = np.random.default_rng(2).random((5, 20, 31), dtype=np.float32)
    one, many = (by_tiles(network(), image, (4, 8, 8), 0.5, tmp_path / "ring", batch) for batch in (1, 8))
    np.testing.assert_allclose(one, many, rtol=0, atol=8 * ROUNDING)


@pytest.mark.parametrize(("flips", "axes"), [("in_plane", [(), (1,), (2,), (1, 2)]), ("all", None)])
def test_flips_are_the_mean_over_mirrored_volumes(flips: Flips, axes: list[tuple[int, ...]] | None) -> None:
    """The mean over predictions of mirrored volumes, mirrored back; made by hand where patch and volume are one."""
    image, model = np.random.default_rng(3).random((4, 8, 6), dtype=np.float32), network(5)
    every = axes or [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    by_hand = [np.flip(predict_probability(model, np.flip(image, axis), (4, 8, 6), 0.5), axis) for axis in every]
    found = predict_probability(model, image, (4, 8, 6), 0.5, flips=flips)
    np.testing.assert_allclose(found, np.mean(by_hand, axis=0), atol=1e-6)
    assert np.abs(found - by_hand[0]).max() > 0.01  # it does something


def test_memory_does_not_grow_with_depth(tmp_path: Path) -> None:
    """Eight times the slices take no more memory: what the deep stack adds to the peak is a small part of its size."""
    process = psutil.Process()

    def peak_mb(depth: int) -> float:
        shape = (depth, 384, 384)
        peak = 0.0

        def look() -> None:
            nonlocal peak
            peak = max(peak, process.memory_info().rss / 1e6)

        with DiskVolume(tmp_path / "image", shape, np.float32) as image:
            planes = (np.full(shape[1:], z, dtype=np.float32) for z in range(depth))
            image.append(planes)
            tiling = tile(shape, (4, 96, 96), 0.25)
            for _ in predict_slices(image.read, torch.sigmoid, tiling, tmp_path / "ring", 2, look):
                look()
        return peak

    shallow = peak_mb(8)
    deep = peak_mb(64)
    added_mb = 56 * 384 * 384 * 4 / 1e6
    assert deep - shallow < 0.25 * added_mb
