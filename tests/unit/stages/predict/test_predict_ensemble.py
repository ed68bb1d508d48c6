"""Networks of several folds as one."""

import numpy as np
import pytest
import torch

from stages.common.backends.network import PreparedNetwork
from stages.common.inference import patch_probability
from stages.predict.models.ensemble import Ensemble
from tests.support.models.networks import brightness_network
from tests.support.models.prepared import prepared
from tests.support.models.recipe import RECIPE

PATCHES = torch.rand((2, 1, 3, 8, 8), generator=torch.Generator().manual_seed(0))


def ensemble(*networks: PreparedNetwork) -> Ensemble:
    """On the CPU."""
    return Ensemble(networks=networks, device=torch.device("cpu"), patch_voxels=(3, 8, 8), recipe=RECIPE)


def by_hand(bias: float) -> torch.Tensor:
    return torch.sigmoid(10 * PATCHES + bias)


def test_the_probability_is_the_mean_of_all_networks() -> None:
    """One network gives its own probability; three count equally."""
    biases = (-5.0, -2.0, -8.0)
    networks = [prepared(brightness_network(bias).eval()) for bias in biases]
    one = ensemble(networks[0]).probability(PATCHES, "none")
    torch.testing.assert_close(one, by_hand(-5.0))
    three = ensemble(*networks).probability(PATCHES, "none")
    torch.testing.assert_close(three, torch.stack([by_hand(bias) for bias in biases]).mean(dim=0))
    assert (three.shape, three.dtype) == (PATCHES.shape, torch.float32)


@pytest.mark.parametrize("flips", ["none", "all"])
def test_each_network_computes_in_its_own_type_with_the_flips(flips: str) -> None:
    """The mean of patch_probability over the networks, each in its own dtype."""
    torch.manual_seed(1)
    network = torch.nn.Conv3d(1, 2, 3, padding=1).eval()
    found = ensemble(prepared(network, "bf16"), prepared(network)).probability(PATCHES, flips)  # type: ignore[arg-type]
    with torch.inference_mode():
        each = [patch_probability(network, PATCHES, dtype, flips) for dtype in (torch.bfloat16, None)]  # type: ignore[arg-type]
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, atol=1e-7)
    assert (each[0] - each[1]).abs().max() > 1e-4
