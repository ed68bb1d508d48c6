"""Trains a cell in this process, or in several that torchrun's agent starts, watches and starts again.

A worker that dies (killed, out of memory, a fault of a GPU) makes the agent end the others and start all of them again;
they go on from the checkpoint. A failure that was foreseen is no death: it comes back as a value, and is raised here.
"""

import logging
import os
import sys
import tempfile
import traceback
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.rendezvous import rendezvous

from stages.common.errors import CapillaryError, ExitCode, find_foreseen
from stages.common.progress import console, say
from stages.common.registry import ModelCard
from stages.common.runtime import Runtime, read_restarts
from stages.train.cell import Cell, find_device, follow, lead, train_cell
from stages.train.distributed.ranks import Ranks
from stages.train.distributed.stop import Board, RelayedInterrupt, live_and_die_with_parent, relaying
from stages.train.loop.history import EpochRecord
from stages.train.resuming.interrupt import listening
from stages.train.resuming.lock import cell_lock

MOST_RESTARTS = 3
# how long a rank waits for the others: a GPU's probe may compile, and rank 0 may wait for the tracking server
PATIENCE = timedelta(minutes=30)
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"

# they report each death with a traceback of their own: `_died` and the worker that begins again say it in plain words
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
        relaying(interrupt) as board,
    ):
        try:
            reports = elastic_launch(_configure(processes, logs), _work)(cell, runtime, board)
        except ChildFailedError as error:
            raise _died(error) from error
    failures = [report for report in reports.values() if isinstance(report, CapillaryError)]
    if failures:
        raise failures[0]
    trained: Trained = reports[0]
    return trained


def _configure(processes: int, logs: str) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="capillary",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # a free port
        local_addr="localhost",
        max_restarts=MOST_RESTARTS,
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        signals_to_handle="SIGQUIT",  # the others are requests to stop (interrupt.py), not to end the workers at once
    )


def _work(cell: Cell, runtime: Runtime, board: Board) -> Trained | CapillaryError | None:
    """What each worker runs: rank 0 returns what was trained, any rank a failure that was foreseen."""
    live_and_die_with_parent()
    ranks = _meet(runtime, cell.params.batch_size)
    console.quiet = not ranks.leads
    try:
        return _train_rank(cell, runtime, board, ranks)
    except Exception as error:
        foreseen = find_foreseen(error)
        if foreseen is not None:
            board.note_failure()
            return foreseen
        if board.failed and _lost_another(error):
            return None  # that one reports why
        if not _lost_another(error):
            traceback.print_exc()
        raise
    finally:
        distributed.destroy_process_group()


def _train_rank(cell: Cell, runtime: Runtime, board: Board, ranks: Ranks) -> Trained | None:
    interrupt = RelayedInterrupt(board)
    if not ranks.leads:
        follow(cell, runtime, interrupt, ranks)
        return None
    if restarts := read_restarts():
        say(f"a process of the training died; all of them start again ({restarts} of {MOST_RESTARTS} times)")
    # the lock is the writer's own: a supervising process that was killed does not free it while this one still writes
    with cell_lock(runtime.state_dir):
        return lead(cell, runtime, interrupt, ranks)


def _meet(runtime: Runtime, batch_size: int) -> Ranks:
    """Join the other processes, at the place that the agent has set."""
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    distributed.init_process_group(
        backend=_backend(runtime),
        # the agent keeps one store: what the processes before a new start left in it would be taken for this one's
        store=PrefixStore(f"start {read_restarts()}", store),
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    return Ranks(rank=rank, size=size, batch_size=batch_size)


def _lost_another(error: Exception) -> bool:
    """Whether another process was gone in the middle of a transfer; gloo raises nothing more particular."""
    return isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _backend(runtime: Runtime) -> str:
    return "cpu:gloo,cuda:nccl" if find_device(runtime.compute).type == "cuda" else "gloo"


def _died(error: ChildFailedError) -> CapillaryError:
    rank, failure = error.get_first_failure()
    cause = f"by {failure.signal_name()}" if failure.exitcode < 0 else f"with exit code {failure.exitcode}"
    return CapillaryError(
        f"a process of the training died, and again after {MOST_RESTARTS} new starts",
        remedy="see above why, and whether memory was short (dmesg); repeat the same command: the training goes on from"
        " its checkpoint. CAPILLARY_PROCESSES=1 trains in one process",
        code=ExitCode.MACHINE,
        value=f"rank {rank} ended {cause}",
    )
