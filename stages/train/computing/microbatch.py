"""The largest micro-batch that a device's memory holds, found by trying: out-of-memory is met before the training."""

from collections.abc import Callable

import torch

from stages.common.errors import MachineError
from stages.train.computing.gradients import add_gradients
from stages.train.computing.precision import LossFunction
from stages.train.sampling.loading import Batch

ADAM_MOMENTS = 2  # tensors of a parameter's size that the optimiser will hold for each


def largest_micro_batch(attempt: Callable[[int], None], batch_size: int) -> int:
    """The first of batch_size, its half, a quarter, … , 1 with which `attempt` does not run out of memory.

    Raises CapillaryError when a single patch does not fit.
    """
    size = batch_size
    while not _fits(attempt, size):
        if size == 1:
            raise MachineError(
                "one patch does not fit into the memory of the GPU",
                remedy="reduce training.patch_voxels or training.filters, free GPU memory (nvidia-smi shows what uses "
                "it), or compute on the CPU: CAPILLARY_PROFILE=cpu",
            )
        size = (size + 1) // 2
    return size


def try_step(
    network: torch.nn.Module, batch: Batch, loss: LossFunction, autocast_dtype: torch.dtype | None, size: int
) -> None:
    """One step's worth of memory: gradients of `batch`, `size` patches at a time, next to the optimiser's moments.

    Weights stay as they are, and no gradient is left behind.
    """
    moments = [torch.empty_like(parameter) for parameter in network.parameters() for _ in range(ADAM_MOMENTS)]
    try:
        add_gradients(network, batch, loss, autocast_dtype=autocast_dtype, micro_batch=size)
    finally:
        del moments
        for parameter in network.parameters():
            parameter.grad = None


def _fits(attempt: Callable[[int], None], size: int) -> bool:
    try:
        attempt(size)
    except torch.cuda.OutOfMemoryError:
        fits = False
    else:
        fits = True
    # after the handler: the error's traceback held the tensors of the attempt
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return fits
