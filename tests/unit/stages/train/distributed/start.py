"""Real processes from a server that has imported torch: they start in milliseconds, and no thread is forked."""

from collections.abc import Callable
from typing import Any

from torch import multiprocessing
from torch.multiprocessing.spawn import start_processes

SIZE = 2
PRELOADED = (
    "torch.distributed",
    "stages.common.networks.monai_parts",  # MONAI without what it would bring along
    "stages.train.loop.engine",
    "tests.unit.stages.train.tiny",
)


def start_two(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Run `function(rank, *arguments)` in two processes and wait for both; raises what one of them raised."""
    multiprocessing.set_forkserver_preload(list(PRELOADED))
    start_processes(function, arguments, nprocs=SIZE, start_method="forkserver")
