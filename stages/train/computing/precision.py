"""Which arithmetic a training uses, decided by what the machine can do and by a probe of the real gradients.

On a CPU the decision never rests on a stopwatch: two fresh runs on one machine must choose alike, or they would not
end with the same weights (a GPU does not promise that; probe.py times it there). So on a CPU `auto` takes
bf16 only where the processor multiplies bf16 in hardware (AVX512-BF16 or AMX; there a step is 2.3 to 2.5 times as
fast), and everywhere only after the probe of its gradients. The decision is kept in the checkpoint and holds for the
rest of the training.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.common.errors import CapillaryError, MachineError
from stages.common.networks.supervision import heads_of
from stages.train.losses.heads import loss_of_heads
from stages.train.params import Precision
from stages.train.sampling.loading import Batch

Gradients = dict[str, Tensor]
LossFunction = Callable[..., Tensor]  # losses/base.py: logits, label, skeleton, and labelled where not all is

# Largest relative error of a parameter's gradient against float32. Sound bf16 kernels stay at or under 0.5 through the
# eight normalised layers of a fresh network (rounding, unbiased); a broken one gives 0.9 and more.
LARGEST_ERROR = 0.7
# Largest relative difference between two computations of one gradient; on a CPU sound kernels give exactly 0, on a GPU
# the order of atomic sums varies.
LARGEST_UNSTEADINESS = 0.05
# A gradient smaller than this share of the whole is measured against this share: rounding in it moves nothing.
SMALLEST_SHARE = 0.02
# fp16 holds gradients of a mean loss only when they are scaled, as GradScaler does in training
FP16_PROBE_SCALE = 1024.0

_SWITCHED_OFF = ("fp32", "the hardware profile says amp: off")
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """`name` is fp32, bf16 or fp16; `reason` says why in a line; `machine` is where the probe ran."""

    name: str
    reason: str
    machine: str

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """What autocast computes in, None without autocast."""
        return DTYPES[self.name]


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """How far one parameter's low-precision gradient is from float32 and from itself, relative to its size."""

    parameter: str
    error: float
    unsteadiness: float

    @property
    def acceptable(self) -> bool:
        """False for NaN too."""
        return self.error <= LARGEST_ERROR and self.unsteadiness <= LARGEST_UNSTEADINESS

    def describe(self) -> str:
        """Which parameter, and by how much."""
        return (
            f"the gradient of {self.parameter} is off by {self.error:.0%} from fp32 (at most {LARGEST_ERROR:.0%}) and"
            f" by {self.unsteadiness:.0%} from itself when repeated (at most {LARGEST_UNSTEADINESS:.0%})"
        )


def decide_precision(
    requested: Precision,
    network: torch.nn.Module,
    batch: Batch,
    loss: LossFunction,
    device: torch.device,
    *,
    allow_half: bool = True,
    candidate: torch.nn.Module | None = None,
) -> Decision:
    """The arithmetic for this training; `network` and the random states stay untouched.

    What is probed is `candidate`, a copy of `network` that lies otherwise in memory, where there is one.
    Without `allow_half` (the profile's amp: off) `auto` means fp32.
    Raises CapillaryError when bf16 was asked for by name and its gradients are wrong.
    """
    machine = describe_machine(device)
    name, reason = _candidate(requested, device) if allow_half or requested is not Precision.AUTO else _SWITCHED_OFF
    dtype = DTYPES[name]
    if dtype is None:
        return Decision(name=name, reason=reason, machine=machine)
    worst = probe(network, batch, loss, dtype, candidate)
    if worst.acceptable:
        reason = f"{reason}, gradients agree with fp32 (worst: {worst.parameter}, {worst.error:.0%})"
        return Decision(name=name, reason=reason, machine=machine)
    if requested is Precision.BF16:
        raise _refused(worst)
    return Decision(name="fp32", reason=f"{name} is refused: {worst.describe()}", machine=machine)


def confirm_precision(
    decision: Decision,
    network: torch.nn.Module,
    batch: Batch,
    loss: LossFunction,
    device: torch.device,
    candidate: torch.nn.Module | None = None,
) -> None:
    """Probe again, `candidate` as above, when a checkpoint's decision meets another machine than it was made on.

    Raises CapillaryError when the gradients are wrong here: the training cannot continue as it began.
    """
    dtype = decision.autocast_dtype
    if dtype is None or decision.machine == describe_machine(device):
        return
    worst = probe(network, batch, loss, dtype, candidate)
    if not worst.acceptable:
        raise _refused(worst)


def describe_machine(device: torch.device) -> str:
    """Processor and torch version: what decides which kernels run."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{torch.cpu.get_capabilities().get('cpu_name', 'CPU')}, torch {torch.__version__}"


def probe(
    network: torch.nn.Module,
    batch: Batch,
    loss: LossFunction,
    dtype: torch.dtype | None,
    candidate: torch.nn.Module | None = None,
) -> Deviation:
    """The parameter whose gradient in `dtype` deviates most from float32's in `network`, on a real batch.

    `candidate` computes the deviating gradients: a copy of `network` that is compiled or lies otherwise in memory;
    `network` itself if there is none.
    One gradient of the loss for the logits, taken in float32, is sent back through the network in both arithmetics, so
    the probe sees the network's kernels and not how a loss reacts to rounding.
    """
    upstream = _upstream(network, batch, loss)
    exact = _gradients(network, batch, upstream, None)
    other = network if candidate is None else candidate
    rough, again = (_gradients(other, batch, upstream, dtype) for _ in range(2))
    floor = SMALLEST_SHARE * float(torch.stack([gradient.norm() for gradient in exact.values()]).norm())
    deviations = [
        Deviation(
            parameter=name,
            error=_relative(rough[name] - exact[name], exact[name], floor),
            unsteadiness=_relative(again[name] - rough[name], exact[name], floor),
        )
        for name in exact
    ]
    refused = [deviation for deviation in deviations if not deviation.acceptable]
    return max(refused or deviations, key=lambda deviation: max(deviation.error, deviation.unsteadiness))


def _candidate(requested: Precision, device: torch.device) -> tuple[str, str]:
    if requested is Precision.FP32:
        return "fp32", "asked for"
    if requested is Precision.BF16:
        return "bf16", "asked for"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes bf16"
        return "fp16", "the GPU computes fp16 and no bf16"
    abilities = torch.cpu.get_capabilities()
    if abilities.get("avx512_bf16") or abilities.get("amx_bf16"):
        return "bf16", "the processor computes bf16"
    return "fp32", "the processor has no bf16 arithmetic"


def _upstream(network: torch.nn.Module, batch: Batch, loss: LossFunction) -> list[Tensor]:
    """Gradient of the loss for the logits of each head."""
    with torch.no_grad():
        heads = [head.requires_grad_() for head in heads_of(network(batch.image))]
    return list(torch.autograd.grad(loss_of_heads(loss, heads, batch.label, batch.skeleton, batch.labelled), heads))


def _gradients(network: torch.nn.Module, batch: Batch, upstream: list[Tensor], dtype: torch.dtype | None) -> Gradients:
    parameters = {name: value for name, value in network.named_parameters() if value.requires_grad}
    scale = FP16_PROBE_SCALE if dtype == torch.float16 else 1.0
    with torch.autocast(batch.image.device.type, dtype=dtype, enabled=dtype is not None):
        output = network(batch.image)
    scaled = [gradient * scale for gradient in upstream]
    gradients = torch.autograd.grad(heads_of(output), list(parameters.values()), scaled)
    return {name: gradient.float() / scale for name, gradient in zip(parameters, gradients, strict=True)}


def _relative(difference: Tensor, gradient: Tensor, floor: float) -> float:
    size = max(float(gradient.norm()), floor)
    error = float(difference.norm()) / size if size != 0 else 0.0
    return float("inf") if math.isnan(error) else error  # NaN compares with nothing


def _refused(worst: Deviation) -> CapillaryError:
    return MachineError(
        "bf16 would train on wrong gradients with this network on this machine",
        remedy="set training.precision to auto or fp32, or change training.patch_voxels or torch's version",
        value=worst.describe(),
    )
