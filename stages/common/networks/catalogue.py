"""The architectures by the name that params.yaml gives them. A new one is a file here and a line in `ARCHITECTURES`."""

import torch

from stages.common.errors import ParamsError
from stages.common.networks import dynunet, segresnet, unet
from stages.common.networks.architecture import Architecture
from stages.common.networks.plan import NetworkPlan
from stages.common.networks.supervision import DeeplySupervised
from stages.common.params import nearest
from stages.common.program.messages import get_logger

log = get_logger(__name__)

ARCHITECTURES: dict[str, Architecture] = {
    "dynunet": Architecture(build=dynunet.build, decode=dynunet.decode),
    "segresnet": Architecture(build=segresnet.build, decode=segresnet.decode),
    "unet": Architecture(build=unet.build),
}


def find_architecture(name: str) -> Architecture:
    """The architecture called `name`; raises ParamsError naming the nearest right name."""
    if name not in ARCHITECTURES:
        raise ParamsError(
            f"there is no architecture `{name}`; {nearest(name, list(ARCHITECTURES))}",
            remedy="correct `training.architecture`; docs/adding-a-model.md says how to add one",
            value=name,
        )
    return ARCHITECTURES[name]


def build_network(plan: NetworkPlan, seed: int, *, architecture: str, deep_supervision: bool) -> torch.nn.Module:
    """The planned network, float32 on the CPU: (B, 1, z, y, x) images to (B, 2, z, y, x) logits (background, vessel).

    With `deep_supervision` it gives the logits of its heads in training mode, if the architecture shows its decoder.
    Its weights follow from `seed` alone, with or without heads; torch's own random state is left as it was.
    """
    chosen = find_architecture(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = chosen.build(plan)
        if not deep_supervision:
            return network
        if chosen.decode is None:
            log.warning(f"{architecture} shows no decoder: trained without deep supervision")
            return network
        return DeeplySupervised(network, chosen.decode, plan.filters[1:-1])
