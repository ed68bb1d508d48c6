"""SegResNet and UNet have layers of ours in MONAI's class: on cubes nothing may differ from what MONAI builds."""

import pytest
import torch
from monai.networks.nets.segresnet import SegResNet
from monai.networks.nets.unet import UNet

from stages.common.networks.catalogue import build_network
from stages.common.networks.plan import plan_network

FILTERS = (8, 16, 32, 64)
OURS_FROM_MONAI = {
    "segresnet": lambda: SegResNet(init_filters=8, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1)),
    "unet": lambda: UNet(3, 1, 2, FILTERS, (2, 2, 2), num_res_units=2, norm=("INSTANCE", {"affine": True})),
}


@pytest.mark.parametrize("name", OURS_FROM_MONAI)
def test_on_cubic_voxels_the_network_is_monais_own(name: str) -> None:
    """The same weights under the same names give the same logits."""
    plan = plan_network(spacing_um=(1.0, 1.0, 1.0), patch_voxels=(32, 32, 32), filters=FILTERS)
    assert set(plan.kernels) == {(3, 3, 3)}
    ours = build_network(plan, 0, architecture=name, deep_supervision=False).eval()
    reference = OURS_FROM_MONAI[name]().eval()
    reference.load_state_dict(ours.state_dict(), strict=True)
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), reference(image), rtol=0, atol=0)


@pytest.mark.parametrize("name", OURS_FROM_MONAI)
def test_every_level_has_the_plans_kernel(name: str) -> None:
    """Coarse sections: no kernel spans them until the plane's voxels are as large."""
    plan = plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=(12, 64, 64), filters=FILTERS)
    network = build_network(plan, 0, architecture=name, deep_supervision=False)
    allowed = dict(zip(plan.extents_voxels(), plan.kernels, strict=True))
    seen = set()
    for part in network.modules():
        if isinstance(part, torch.nn.Conv3d) and part.kernel_size != (1, 1, 1):
            part.register_forward_hook(lambda part, _, made: seen.add((tuple(made.shape[2:]), part.kernel_size)))
    network(torch.rand(1, 1, 12, 64, 64))
    assert seen <= set(allowed.items())
    assert len(seen) == len(plan.kernels)
