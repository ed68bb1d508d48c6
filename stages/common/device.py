"""Where networks compute."""

import torch

from stages.common.runtime import Compute


def choose_device(compute: Compute, local_rank: int = 0) -> torch.device:
    """The GPU of process number `local_rank` of this node, or the CPU if there is none or `compute` says so."""
    on_gpu = torch.cuda.is_available() and compute.device != "cpu"
    return torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
