"""A few steps before the training: which arithmetic and switches are right; on a GPU, which pay and how much fits."""

import copy
import shutil
import statistics
import time
from dataclasses import replace
from functools import partial

import torch

from stages.common.layout import copy_channels_last, keeps_channels_last
from stages.common.program.messages import get_logger
from stages.common.runtime import Compute
from stages.train.computing.gradients import add_gradients
from stages.train.computing.microbatch import largest_micro_batch, try_step
from stages.train.computing.precision import DTYPES, Decision, LossFunction, decide_precision, probe
from stages.train.computing.switches import Switches, Variant, asked_for, fastest
from stages.train.params import Precision, TrainingParams
from stages.train.sampling.loading import Batch

log = get_logger(__name__)

WARM_UP_STEPS = 3
TIMED_STEPS = 5
# compiling takes a minute or so: only a training that is much longer can win it back
SHORTEST_COMPILED_S = 900.0


def probe_gpu(
    params: TrainingParams, compute: Compute, network: torch.nn.Module, batch: Batch, loss: LossFunction
) -> tuple[Decision, Switches]:
    """Arithmetic and switches for a training on the GPU on which `network` and `batch` lie; both stay as they are.

    Raises CapillaryError when not even one patch fits, or when bf16 was asked for by name and is wrong.
    """
    # float32 takes most: what fits in it can be measured in any arithmetic
    size = largest_micro_batch(partial(try_step, network, batch, loss, None), len(batch.image))
    sample = first_patches(batch, size)
    decision = decide_precision(params.precision, network, sample, loss, batch.image.device, allow_half=compute.amp)
    measure = partial(seconds_of, network, sample, loss, decision)
    asked_by_name = params.precision is Precision.BF16
    start = Variant(half=decision.autocast_dtype is not None and asked_by_name)
    may_halve = decision.autocast_dtype is not None
    best = fastest(start, may_halve=may_halve, may_relayout=compute.compile, may_compile=False, measure=measure)
    if compute.compile and _pays_to_compile(params, len(batch.image) / size * (measure(best) or 0)):
        best = fastest(best, may_halve=False, may_relayout=False, may_compile=True, measure=measure)
    if may_halve and not best.half:
        reason = f"{decision.name} is right, and not faster here"
        decision = Decision(name="fp32", reason=reason, machine=decision.machine)
    switches = Switches(channels_last=best.channels_last, compiled=best.compiled)
    return decision, fit(switches, compute, network, batch, loss, decision)


def probe_cpu(
    params: TrainingParams, compute: Compute, network: torch.nn.Module, batch: Batch, loss: LossFunction
) -> tuple[Decision, Switches]:
    """Arithmetic and switches for a training on the CPU, without a stopwatch; `network` stays as it is.

    Channels last was faster in either arithmetic wherever it was measured (docs/benchmarks.md), so it is taken where
    the network can keep it and its gradients are right. Raises CapillaryError when bf16 was asked for by name and is
    wrong.
    """
    device, plain = batch.image.device, asked_for(compute, len(batch.image))
    decide = partial(decide_precision, params.precision, network, batch, loss, device, allow_half=compute.amp)
    if not keeps_channels_last(network):
        return decide(), plain
    candidate = copy_channels_last(network)
    decision = decide(candidate=candidate)
    if (
        decision.autocast_dtype is None
        and not (worst := probe(network, batch, loss, DTYPES["fp32"], candidate)).acceptable
    ):
        log.info(f"channels last is refused: {worst.describe()}")
        return decide(), plain
    return decision, replace(plain, channels_last=True)


def fit(
    switches: Switches,
    compute: Compute,
    network: torch.nn.Module,
    batch: Batch,
    loss: LossFunction,
    decision: Decision,
) -> Switches:
    """`switches` with the micro-batch that was asked for, or the largest one that fits."""
    wanted = asked_for(compute, len(batch.image)).micro_batch
    if compute.micro_batch is None:
        attempt = partial(try_step, network, batch, loss, decision.autocast_dtype)
        found = largest_micro_batch(attempt, len(batch.image))
        wanted = None if found == len(batch.image) else found
    return replace(switches, micro_batch=wanted)


def seconds_of(
    network: torch.nn.Module, batch: Batch, loss: LossFunction, decision: Decision, variant: Variant
) -> float | None:
    """Median seconds of forward and backward in `variant`; None when its gradients are wrong or it does not run."""
    dtype = decision.autocast_dtype if variant.half else DTYPES["fp32"]
    candidate = copy.deepcopy(network)
    Switches(channels_last=variant.channels_last, compiled=variant.compiled).apply(candidate)
    try:
        if (variant.channels_last or variant.compiled) and not (
            worst := probe(network, batch, loss, dtype, candidate=candidate)
        ).acceptable:
            log.info(f"{variant.describe()} is refused: {worst.describe()}")
            return None
        return _median_s(candidate, batch, loss, dtype)
    except RuntimeError as error:  # what torch's compiler raises, and kernels that a memory format lacks
        log.info(f"{variant.describe()} does not run here: {str(error).splitlines()[0]}")
        return None


def first_patches(batch: Batch, count: int) -> Batch:
    """The first `count` patches of `batch`."""
    return Batch(
        image=batch.image[:count],
        label=batch.label[:count],
        skeleton=batch.skeleton[:count],
        ids=batch.ids[:count],
        labelled=None if batch.labelled is None else batch.labelled[:count],
    )


def _median_s(network: torch.nn.Module, batch: Batch, loss: LossFunction, dtype: torch.dtype | None) -> float:
    times = []
    for number in range(WARM_UP_STEPS + TIMED_STEPS):
        started = time.perf_counter()
        add_gradients(network, batch, loss, autocast_dtype=dtype)
        if batch.image.device.type == "cuda":
            torch.cuda.synchronize()
        if number >= WARM_UP_STEPS:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def _pays_to_compile(params: TrainingParams, step_s: float) -> bool:
    """Whether the training is long enough, and there is the C compiler that torch's needs."""
    long_enough = params.max_epochs * params.steps_per_epoch * step_s >= SHORTEST_COMPILED_S
    return long_enough and any(map(shutil.which, ("cc", "gcc", "clang")))
