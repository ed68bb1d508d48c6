"""Trains a cell in this process, or in several that torchrun's agent starts and watches.

A process that dies (killed, out of memory, a fault of a GPU) makes the agent end the others; then all of them start
again and continue from the checkpoint. A failure that was foreseen is reported, and ends the training at once.
"""

import itertools
import logging
import os
import sys
import tempfile
import traceback
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from stages.common.errors import CapillaryError, ExitCode, find_foreseen
from stages.common.progress import console, say
from stages.common.runtime import Runtime
from stages.common.tracking.registry import ModelCard
from stages.train.cell import Cell
from stages.train.distributed.ranks import Ranks
from stages.train.distributed.stop import RelayedInterrupt, StopChannel, live_and_die_with_parent, relaying
from stages.train.loop.history import EpochRecord
from stages.train.part import find_device
from stages.train.resuming.interrupt import Interrupt, listening
from stages.train.resuming.lock import cell_lock
from stages.train.training import follow, lead, train_cell

MOST_RESTARTS = 3
# how long a rank waits for the others: a GPU's probe may compile, and rank 0 may wait for the tracking server
PATIENCE = timedelta(minutes=30)
# what rank 0 may take to end in order: the tracking server may not answer
PATIENCE_WITH_LEAD_S = 60.0
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"

# they report each death with their own traceback: `_how` says it in plain words
_TALKATIVE = ("torch.multiprocessing.spawn", "torch.distributed.elastic.multiprocessing.api")

Trained = tuple[ModelCard, list[EpochRecord]]


def train(cell: Cell, runtime: Runtime) -> Trained:
    """Train `cell` on as many processes as the profile asks for and the machine and the batch can have."""
    processes = usable_processes(runtime, cell.params.batch_size)
    return train_cell(cell, runtime) if processes == 1 else _supervise(cell, runtime, processes)


def usable_processes(runtime: Runtime, batch_size: int) -> int:
    """How many processes: not more than a batch has patches, nor than there are GPUs where GPUs compute."""
    wanted = runtime.compute.processes
    on_gpu = find_device(runtime.compute).type == "cuda"
    possible = min(batch_size, torch.cuda.device_count() if on_gpu else batch_size)
    if wanted > possible:
        limit = "GPUs" if on_gpu and possible < batch_size else "patches in a batch"
        say(f"{possible} processes instead of {wanted}: there are no more {limit}")
    return min(wanted, possible)


def _supervise(cell: Cell, runtime: Runtime, processes: int) -> Trained:
    # one machine: the processes' own traffic stays on it
    os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with (
        tempfile.TemporaryDirectory() as logs,
        listening(runtime.monitoring.memory_abort_gb) as interrupt,
    ):
        for start in itertools.count(1):
            # a board for each start: on the previous one rank 0 is done, and a process may have died while it wrote
            with relaying(interrupt) as board:
                try:
                    reports = elastic_launch(_configure(processes, logs), _work)(cell, runtime, board)
                except ChildFailedError as error:
                    if (reported := board.reported()) is not None:
                        raise reported from None
                    if start > MOST_RESTARTS:
                        raise _died(error) from error
                    say(f"{_how(error)}; all start again from the checkpoint ({start} of {MOST_RESTARTS} times)")
                else:
                    trained: Trained = reports[0]
                    return trained
    raise AssertionError("the loop ends by returning or raising")


def _configure(processes: int, logs: str) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="capillary",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # a free port
        local_addr="localhost",
        max_restarts=0,  # it would start again after every failure, the foreseen ones too
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        signals_to_handle="SIGQUIT",  # the others are requests to stop (interrupt.py), not to end the workers at once
    )


def _work(cell: Cell, runtime: Runtime, board: StopChannel) -> Trained | None:
    """What each process runs; rank 0 returns what was trained. A foreseen failure is reported and exits with 1."""
    live_and_die_with_parent()
    # the agent has set the rank, the number of ranks and where they meet
    distributed.init_process_group(backend=_backend(runtime), timeout=PATIENCE)
    rank, size = distributed.get_rank(), distributed.get_world_size()
    ranks = Ranks(rank=rank, size=size, batch_size=cell.params.batch_size)
    console.quiet = not ranks.leads
    try:
        trained = _train_rank(cell, runtime, RelayedInterrupt(board), ranks)
        distributed.destroy_process_group()
        return trained
    except Exception as error:
        foreseen = find_foreseen(error)
        if foreseen is not None:
            board.report(foreseen)
            if not ranks.leads:
                # it may be rank 0's failure too (a request to stop), which then has its MLflow run to end
                board.wait_for_lead(PATIENCE_WITH_LEAD_S)
            sys.exit(ExitCode.UNEXPECTED)
        if not _lost_another(error):
            traceback.print_exc()
        raise
    finally:
        if ranks.leads:
            board.lead_is_done()


def _train_rank(cell: Cell, runtime: Runtime, interrupt: Interrupt, ranks: Ranks) -> Trained | None:
    if not ranks.leads:
        follow(cell, runtime, interrupt, ranks)
        return None
    # the lock is the writer's own: a supervising process that was killed does not free it while this one still writes
    with cell_lock(runtime.state_dir):
        return lead(cell, runtime, interrupt, ranks)


def _lost_another(error: Exception) -> bool:
    """Whether another process was gone in the middle of a transfer; gloo raises nothing more particular."""
    return isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _backend(runtime: Runtime) -> str:
    return "cpu:gloo,cuda:nccl" if find_device(runtime.compute).type == "cuda" else "gloo"


def _how(error: ChildFailedError) -> str:
    rank, failure = error.get_first_failure()
    cause = f"by {failure.signal_name()}" if failure.exitcode < 0 else f"with exit code {failure.exitcode}"
    return f"a process of the training died: rank {rank} ended {cause}"


def _died(error: ChildFailedError) -> CapillaryError:
    return CapillaryError(
        f"a process of the training died, and again after {MOST_RESTARTS} restarts",
        remedy="see above for the cause, and dmesg for a lack of memory; then rerun the same command: the training "
        "resumes "
        "from its checkpoint. CAPILLARY_PROCESSES=1 trains in one process",
        code=ExitCode.MACHINE,
        value=_how(error),
    )
