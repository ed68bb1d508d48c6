"""Calibration against the definition, voxel by voxel."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.evaluate.statistics.calibration import (
    BINS,
    CALIBRATION_CSV,
    CALIBRATION_VOLUMES_CSV,
    Reliability,
    VolumeCalibration,
    pooled_by_loss,
    write_calibration,
)


def by_definition(probability: NDArray[np.float32], label: NDArray[np.bool_]) -> float:
    """Σ_b n_b / n · |mean p_b - share of vessel_b|, with each voxel put into its bin by comparison with the edges."""
    error = 0.0
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        inside = [
            (float(p), bool(v))
            for p, v in zip(probability.ravel(), label.ravel(), strict=True)
            if low <= p < high or (number == BINS - 1 and p == 1)
        ]
        if inside:
            difference = np.mean([p for p, _ in inside]) - np.mean([v for _, v in inside])
            error += len(inside) / probability.size * float(abs(difference))
    return error


def volume(seed: int, depth: int = 3) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    return rng.random((depth, 9, 8), dtype=np.float32), rng.random((depth, 9, 8)) < 0.3


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), depth=st.integers(1, 4))
def test_the_error_is_the_definition_s(seed: int, depth: int) -> None:
    """A volume's error equals the sum over bins, made voxel by voxel."""
    probability, label = volume(seed, depth)
    assert Reliability.of(probability, label).error == pytest.approx(by_definition(probability, label), abs=1e-12)


@pytest.mark.parametrize(
    ("value", "vessel", "error"), [(0.0, False, 0.0), (1.0, True, 0.0), (1.0, False, 1.0), (0.25, False, 0.25)]
)
def test_what_can_be_said_by_hand(value: float, vessel: bool, error: float) -> None:
    """Right and sure is 0, wrong and sure is 1; both ends have a bin."""
    probability, label = np.full((2, 3, 3), value, np.float32), np.full((2, 3, 3), vessel)
    assert Reliability.of(probability, label).error == pytest.approx(error)


def test_a_calibrated_prediction_has_no_error() -> None:
    """Labels drawn with the probability that was predicted: the error goes to 0 with the number of voxels."""
    rng = np.random.default_rng(0)
    probability = rng.random((4, 200, 200), dtype=np.float32)
    assert Reliability.of(probability, rng.random(probability.shape) < probability).error < 0.01


def test_pooled_is_over_all_voxels(tmp_path: Path) -> None:
    """Two volumes of different sizes: the pooled error is that of all their voxels together, not the mean of both."""
    (first, first_label), (second, second_label) = volume(1, 2), volume(2, 6)
    volumes = [
        VolumeCalibration(loss="dice_ce", fold=0, id="a", reliability=Reliability.of(first, first_label)),
        VolumeCalibration(loss="dice_ce", fold=1, id="b", reliability=Reliability.of(second, second_label)),
    ]
    whole = np.concatenate([first, second]), np.concatenate([first_label, second_label])
    expected = by_definition(*whole)
    assert pooled_by_loss(volumes)["dice_ce"].error == pytest.approx(expected)
    write_calibration(tmp_path, volumes)
    with (tmp_path / CALIBRATION_CSV).open() as stream:
        bins = list(csv.DictReader(stream))
    assert sum(int(line["voxels"]) for line in bins) == whole[0].size
    from_file = sum(
        int(line["voxels"]) / whole[0].size * abs(float(line["mean_probability"]) - float(line["vessel_share"]))
        for line in bins
    )
    assert from_file == pytest.approx(expected)
    with (tmp_path / CALIBRATION_VOLUMES_CSV).open() as stream:
        errors = {line["id"]: float(line["calibration_error"]) for line in csv.DictReader(stream)}
    assert errors == pytest.approx({"a": by_definition(first, first_label), "b": by_definition(second, second_label)})
