"""Tiles from and to the disk give what the whole volume in memory gives."""

from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.common.inference import Flips, patch_probability, predict_probability
from stages.predict.disk.volume import DiskVolume
from stages.predict.tiling.tiles import predict_slices, tile

Shape = tuple[int, int, int]


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    convolution = torch.nn.Conv3d(1, 2, 3, padding=1)
    torch.nn.init.normal_(convolution.weight, std=1.0)
    return convolution.eval()


def by_tiles(
    model: torch.nn.Module, image_zyx: NDArray[np.float32], patch: Shape, overlap: float, ring: Path, batch: int = 3
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


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 14), st.integers(1, 22), st.integers(1, 22)),
    patch=st.tuples(st.integers(1, 7), st.integers(3, 10), st.integers(3, 10)),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
)
def test_tiles_equal_the_whole_volume(
    tmp_path_factory: pytest.TempPathFactory, shape: Shape, patch: Shape, overlap: float
) -> None:
    """Any volume, patch and overlap: the probability is MONAI's of the whole volume, to a millionth."""
    image = np.random.default_rng(1).random(shape, dtype=np.float32)
    ring = tmp_path_factory.getbasetemp() / "ring"
    found = by_tiles(network(), image, patch, overlap, ring)
    np.testing.assert_allclose(found, predict_probability(network(), image, patch, overlap), atol=1e-6)


def test_the_batch_changes_rounding_only(tmp_path: Path) -> None:
    """How many patches go through the network at a time is no part of the result."""
    image = np.random.default_rng(2).random((5, 20, 31), dtype=np.float32)
    one, many = (by_tiles(network(), image, (4, 8, 8), 0.5, tmp_path / "ring", batch) for batch in (1, 8))
    np.testing.assert_allclose(one, many, atol=1e-6)


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
