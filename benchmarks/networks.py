"""What the architectures, deep supervision and full kernels cost, relative to DynUNet without heads.

    python benchmarks/networks.py [--steps N] [--threads N] [--json]

Forward and backward of dice_ce on one batch of noise with the patch and filters of `params.yaml`, in bf16 where the
processor has it. The variants take turns, step by step, so that a busy machine slows all alike; compared are the
fastest steps. Nothing is trained and no data is needed.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stages.common.networks.catalogue import ARCHITECTURES, build_network
from stages.common.networks.kernel_rule import KernelRule
from stages.common.networks.plan import plan_network
from stages.common.networks.supervision import plain
from stages.train.computing.gradients import add_gradients
from stages.train.losses import build_loss
from stages.train.sampling.loading import Batch

SPACING_UM = (5.0, 1.0, 1.0)
VESSEL_SHARE = 0.05
SUPERVISION_TARGET = 1.10  # times a step without heads


@dataclass(frozen=True)
class Variant:
    """A network of the comparison."""

    architecture: str
    kernels: KernelRule = KernelRule.AUTO
    heads: bool = False

    @property
    def name(self) -> str:
        """For the table."""
        full = ", full kernels" if self.kernels is KernelRule.FULL else ""
        return f"{self.architecture}{full}{', deep supervision' if self.heads else ''}"


BASE, SUPERVISED = Variant("dynunet"), Variant("dynunet", heads=True)
VARIANTS = [
    BASE,
    SUPERVISED,
    Variant("dynunet", KernelRule.FULL),
    *[Variant(name) for name in ARCHITECTURES if name != BASE.architecture],
]


def build(variant: Variant, training: dict[str, Any]) -> torch.nn.Module:
    """The network of `variant` with the patch and filters of params.yaml."""
    plan = plan_network(
        spacing_um=SPACING_UM,
        patch_voxels=tuple(training["patch_voxels"]),
        filters=tuple(training["filters"]),
        kernel_rule=variant.kernels,
    )
    return build_network(plan, 0, architecture=variant.architecture, deep_supervision=variant.heads)


def noise(training: dict[str, Any]) -> Batch:
    """A batch of the size of params.yaml."""
    image = torch.rand(training["batch_size"], 1, *training["patch_voxels"])
    label = (image < VESSEL_SHARE).to(torch.uint8)
    return Batch(image=image, label=label, skeleton=label, ids=[])


def fastest_steps_s(networks: dict[str, torch.nn.Module], batch: Batch, steps: int) -> dict[str, float]:
    """The fastest of `steps` steps of each network, after one to warm up."""
    loss = build_loss("dice_ce")
    dtype = torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else None
    fastest = dict.fromkeys(networks, float("inf"))
    for number in range(steps + 1):
        for name, network in networks.items():
            network.zero_grad(set_to_none=True)
            started = time.perf_counter()
            add_gradients(network, batch, loss, autocast_dtype=dtype)
            if number > 0:
                fastest[name] = min(fastest[name], time.perf_counter() - started)
    return fastest


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    training = yaml.safe_load((Path(__file__).resolve().parent.parent / "params.yaml").read_text())["training"]
    networks = {variant.name: build(variant, training) for variant in VARIANTS}
    seconds = fastest_steps_s(networks, noise(training), arguments.steps)
    rows = [
        {
            "network": name,
            "parameters": sum(parameter.numel() for parameter in plain(network).parameters()),
            "step_s": round(seconds[name], 4),
            "ratio": round(seconds[name] / seconds[BASE.name], 3),
        }
        for name, network in networks.items()
    ]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['network']:32} {row['parameters']:>10,} parameters {row['step_s']:.3f} s a step, × {row['ratio']}")
    ratio = seconds[SUPERVISED.name] / seconds[BASE.name]
    print(f"deep supervision × {ratio:.3f} (at most {SUPERVISION_TARGET})")


if __name__ == "__main__":
    main()
