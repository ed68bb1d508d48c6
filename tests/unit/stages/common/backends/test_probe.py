"""The probe: patches that follow from the card alone, and a rule about decisions."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from stages.common.backends.openvino_network import OpenVinoNetwork, convert_network
from stages.common.backends.probe import EQUAL_SHARE, compare, probe_patches
from stages.common.backends.settings import BackendSettings, work_voxels
from stages.common.tracking.cards.domain import TrainingDomain
from tests.support.models.recipe import RECIPE
from tests.support.tracking.cards import CARD

QUARTILES = {"quartile_1": 0.2, "median": 0.25, "quartile_3": 0.3, "share_highest": 0.0}
DOMAIN = TrainingDomain(volumes=1, lowest_um=(1, 1, 1), highest_um=(1, 1, 1), lowest=QUARTILES, highest=QUARTILES)


@pytest.mark.parametrize(("changed", "is_equal"), [(0, True), (10, True), (11, False)])
def test_one_decision_in_a_thousand_may_differ(changed: int, is_equal: bool) -> None:
    """Counted at the threshold where most differ; here only 0.9 lies between both."""
    exact = torch.full((10_000,), 2.0)  # 0.88
    found = exact.clone()
    found[:changed] = 2.4  # 0.92
    evidence = compare(exact, found)
    assert evidence.is_equal is is_equal
    assert evidence.equal_share == pytest.approx(1 - changed / 10_000)
    assert (evidence.equal_share >= EQUAL_SHARE) is is_equal


def test_wrong_logits_are_found_where_no_decision_changes() -> None:
    """A network that is sure of everything; and one that gives NaN."""
    exact = torch.full((100,), -20.0)
    assert not compare(exact, exact * 0.9).is_equal
    assert compare(exact, exact * 0.99).is_equal
    assert not compare(exact, exact * torch.nan).is_equal


@pytest.mark.parametrize("normalisation", ["percentile", "zscore", "none"])
def test_patches_look_like_the_training(normalisation: str) -> None:
    """Two of the card's size, bright and dark vessels, with the quartiles that the training had; equal at each call."""
    card = dataclasses.replace(
        CARD,
        patch_voxels=(8, 48, 48),
        domain=DOMAIN,
        recipe=dataclasses.replace(RECIPE, normalisation=normalisation),
    )
    patches = probe_patches(card)
    assert (patches.shape, patches.dtype) == ((2, 1, 8, 48, 48), torch.float32)
    assert torch.equal(patches, probe_patches(card))
    bright, dark = patches.numpy()
    np.testing.assert_allclose(np.percentile(bright, (25, 75)), (0.2, 0.3), atol=1e-5)
    np.testing.assert_allclose(np.percentile(dark, (25, 75)), (0.2, 0.3), atol=1e-5)
    low, middle, high = np.percentile(bright, (1, 50, 99))
    assert high - middle > 1.5 * (middle - low)
    low, middle, high = np.percentile(dark, (1, 50, 99))
    assert middle - low > 1.5 * (high - middle)


def test_work_is_counted_in_voxels_of_all_patches() -> None:
    """Those of the overlap and of mirrored patches, too."""
    assert work_voxels((12, 96, 96), (12, 96, 96), 0.5, "none") == 12 * 96 * 96
    assert work_voxels((15, 512, 512), (12, 96, 96), 0.5, "none") == 200 * 12 * 96 * 96
    assert work_voxels((15, 512, 512), (12, 96, 96), 0.5, "in_plane") == 800 * 12 * 96 * 96


def test_a_setting_by_name_counts_for_small_stacks_too() -> None:
    """openvino always, torch never, auto for much work."""
    found = {
        asked: [BackendSettings(asked=asked, threads=1).may_convert(work) for work in (1, 1 << 30)]
        for asked in ("auto", "torch", "openvino")
    }
    assert found == {"auto": [False, True], "torch": [False, False], "openvino": [True, True]}


def test_openvino_reports_to_nobody() -> None:
    """The package that sends its use to its maker is never imported, whatever is installed."""
    network = torch.nn.Conv3d(1, 2, 1).eval()
    converted = OpenVinoNetwork(convert_network(network, (2, 4, 4)), "f32", threads=1, patches_at_a_time=1)
    image = torch.rand(1, 1, 2, 4, 4)
    torch.testing.assert_close(converted(image), network(image))
    assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
