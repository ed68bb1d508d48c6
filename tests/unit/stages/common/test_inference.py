"""Sliding-window prediction against a brute-force weighted sum."""

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.common.inference import Flips, device_of, patch_probability, predict_probability


class ConstantLogits(torch.nn.Module):
    """Two channels of logits that are the same everywhere."""

    def __init__(self, background: float, vessel: float) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor([background, vessel]))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        shape = patches.shape[2:]
        return self.logits[None, :, None, None, None].expand(len(patches), 2, *shape)


def tiny_network() -> torch.nn.Module:
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 2, 3, padding=1)
    torch.nn.init.normal_(network.weight, std=1.0)
    return network


def noise(*shape_zyx: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).random(shape_zyx, dtype=np.float32)


def gaussian_weights(patch: tuple[int, ...]) -> NDArray[np.float64]:
    weights = np.ones(patch)
    for axis, size in enumerate(patch):
        distance = np.arange(size) - (size - 1) / 2
        profile = np.exp(-(distance**2) / (2 * (0.125 * size) ** 2))
        weights *= profile.reshape([-1 if other == axis else 1 for other in range(3)])
    return np.maximum(weights, max(weights.min(), 1e-3))


def starts(size: int, patch: int, overlap: float) -> list[int]:
    if size == patch:
        return [0]
    stride = max(int(patch * (1 - overlap)), 1)
    return sorted({min(start, size - patch) for start in range(0, size - patch + stride, stride)})


def brute_force(
    network: torch.nn.Module, image_zyx: NDArray[np.float32], patch: tuple[int, int, int], overlap: float
) -> NDArray[np.float64]:
    padding = [
        (max(p - s, 0) // 2, max(p - s, 0) - max(p - s, 0) // 2) for s, p in zip(image_zyx.shape, patch, strict=True)
    ]
    padded = np.pad(image_zyx, padding, mode="edge")
    weights = gaussian_weights(patch)
    total, norm = np.zeros(padded.shape), np.zeros(padded.shape)
    axes = [starts(size, p, overlap) for size, p in zip(padded.shape, patch, strict=True)]
    for corner in itertools.product(*axes):
        window = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
        with torch.no_grad():
            logits = network(torch.from_numpy(padded[window].copy())[None, None])
        total[window] += weights * torch.softmax(logits.double(), dim=1)[0, 1].numpy()
        norm[window] += weights
    crop = tuple(slice(before, before + size) for (before, _), size in zip(padding, image_zyx.shape, strict=True))
    return (total / norm)[crop]


@pytest.mark.parametrize(
    ("shape", "patch", "overlap"),
    [
        ((8, 12, 12), (8, 12, 12), 0.5),
        ((9, 20, 17), (4, 8, 8), 0.5),
        ((7, 16, 16), (3, 10, 6), 0.25),
        ((5, 13, 11), (5, 6, 7), 0.0),
        ((3, 20, 5), (6, 8, 8), 0.5),
        ((1, 4, 4), (2, 6, 6), 0.75),
    ],
    ids=["one patch", "overlap", "anisotropic", "no overlap", "thinner than the patch", "smaller than the patch"],
)
def test_probability_equals_the_gaussian_weighted_mean_over_patches(
    shape: tuple[int, int, int], patch: tuple[int, int, int], overlap: float
) -> None:
    """Each voxel is the Gaussian-weighted mean of the softmax of all patches that hold it."""
    image, network = noise(*shape), tiny_network()
    found = predict_probability(network, image, patch, overlap, batch_size=3)
    assert found.shape == shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, brute_force(network, image, patch, overlap), atol=2e-6)


def test_a_constant_network_gives_a_constant_probability() -> None:
    """Blending invents nothing: constant logits give their softmax everywhere, borders included."""
    found = predict_probability(ConstantLogits(0.0, 2.0), noise(5, 17, 9), (4, 8, 8), 0.5)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-2.0)), rtol=1e-6)


@pytest.mark.parametrize("vessel", [-1e4, 1e4])
def test_sure_networks_stay_within_zero_and_one(vessel: float) -> None:
    """A probability never leaves [0, 1] and is finite, however large the logits."""
    found = predict_probability(ConstantLogits(0.0, vessel), noise(4, 9, 9), (4, 5, 5), 0.5)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1


def test_prediction_runs_in_eval_mode_and_gives_each_part_its_mode_back() -> None:
    """Dropout is off during prediction; a training network comes back training, its frozen parts frozen."""
    network = torch.nn.Sequential(torch.nn.Dropout(0.9), tiny_network(), torch.nn.BatchNorm3d(2))
    network.train()
    network[2].eval()
    image = noise(4, 8, 8)
    first, second = (predict_probability(network, image, (4, 8, 8), 0.5) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert [part.training for part in network] == [True, True, False]


def test_a_read_only_memory_map_is_predicted_and_left_alone(tmp_path: pytest.TempPathFactory) -> None:
    """The image may be a read-only memory map; nothing warns and nothing is written to it."""
    file = f"{tmp_path}/image.npy"
    np.save(file, noise(4, 8, 8))
    image = np.load(file, mmap_mode="r")
    predict_probability(tiny_network(), image, (4, 8, 8), 0.5)
    np.testing.assert_array_equal(np.load(file), noise(4, 8, 8))


def test_autocast_changes_the_probability_by_rounding_only() -> None:
    """bf16 inference stays within bf16's precision of fp32, and the result is float32 still."""
    image, network = noise(6, 16, 16), tiny_network()
    exact = predict_probability(network, image, (6, 8, 8), 0.5)
    rounded = predict_probability(network, image, (6, 8, 8), 0.5, autocast_dtype=torch.bfloat16)
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, exact, atol=0.02)


@pytest.mark.parametrize(
    ("flips", "mirrored"),
    [
        ("none", [()]),
        ("in_plane", [(), (3,), (4,), (3, 4)]),
        ("all", [(), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4)]),
    ],
)
def test_with_flips_a_patch_has_the_mean_over_its_mirror_images(flips: Flips, mirrored: list[tuple[int, ...]]) -> None:
    """Each is mirrored back before the mean is taken; the mean is one of probabilities."""
    network = tiny_network().double()
    patches = torch.from_numpy(np.random.default_rng(2).random((2, 1, 4, 5, 6)))
    with torch.no_grad():
        found = patch_probability(network, patches, None, flips)
        expected = [torch.softmax(network(patches.flip(axes)), 1)[:, 1:].flip(axes) for axes in mirrored]
    torch.testing.assert_close(found, torch.stack(expected).mean(dim=0), check_dtype=False, atol=1e-6, rtol=1e-6)


def test_flips_batch_size_and_arithmetic_reach_the_patches() -> None:
    """What is asked of a volume is asked of each of its patches."""
    seen: list[tuple[int, torch.dtype | None]] = []

    class Watched(ConstantLogits):
        def forward(self, patches: torch.Tensor) -> torch.Tensor:
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
            seen.append((len(patches), dtype))
            return super().forward(patches)

    image = noise(4, 20, 20)
    predict_probability(Watched(0.0, 1.0), image, (4, 8, 8), 0.0, batch_size=9, flips="in_plane")
    assert seen == [(9, None)] * 4
    seen.clear()
    predict_probability(Watched(0.0, 1.0), image, (4, 8, 8), 0.0, batch_size=3, autocast_dtype=torch.bfloat16)
    assert seen == [(3, torch.bfloat16)] * 3


def test_a_network_that_fails_comes_back_in_its_mode() -> None:
    """Training continues, or ends, in the mode it had."""

    class Failing(torch.nn.Module):
        def forward(self, _patches: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no memory")

    network = Failing().train()
    with pytest.raises(RuntimeError, match="no memory"):
        predict_probability(network, noise(4, 8, 8), (4, 8, 8), 0.5)
    assert network.training


def test_a_network_computes_where_its_parameters_lie_or_else_on_the_cpu() -> None:
    """One without parameters has no place of its own."""
    assert device_of(tiny_network().to("meta")) == torch.device("meta")
    assert device_of(torch.nn.Identity()) == torch.device("cpu")
