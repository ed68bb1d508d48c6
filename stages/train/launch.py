"""Trains a cell in this process, or in several that torchrun's agent starts and watches.

A process that dies (killed, out of memory, a fault of a GPU) makes the agent end the others; then all of them start
again and continue from the checkpoint. A failure that was foreseen is reported, and ends the training at once.

On several nodes each has an agent. Node 0 has rank 0, and the outs. There nothing starts again by itself: the stage
ends with RANK_LOST on each node, and whoever gave the nodes (a cluster's queue) starts all of them again, on others
where one is gone.
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

from stages.common.device import choose_device
from stages.common.errors import CapillaryError, ExitCode, MachineError, ParamsError, find_foreseen
from stages.common.program.messages import get_logger, print_nothing
from stages.common.runtime import Rendezvous, Runtime
from stages.common.stage_main import tell_as
from stages.common.text import counted
from stages.common.tracking.cards.card import ModelCard
from stages.train.cell import Cell
from stages.train.distributed.ranks import Ranks
from stages.train.distributed.stop import RelayedInterrupt, StopChannel, live_and_die_with_parent, relaying
from stages.train.loop.history import EpochRecord
from stages.train.resuming.interrupt import Interrupt, listening
from stages.train.resuming.lock import cell_lock
from stages.train.training import follow, lead, train_cell

log = get_logger(__name__)

MOST_RESTARTS = 3
# how long a rank waits for the others: a GPU's probe may compile, and rank 0 may wait for the tracking server
PATIENCE = timedelta(minutes=30)
# what rank 0 may take to end in order: the tracking server may not answer
PATIENCE_WITH_LEAD_S = 60.0
# how long a node waits for the others to begin
MEETING_S = 300
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"

# they report each death with their own traceback: `_how` says it in plain words
_TALKATIVE = ("torch.multiprocessing.spawn", "torch.distributed.elastic.multiprocessing.api")

Trained = tuple[ModelCard, list[EpochRecord]]


def train(cell: Cell, runtime: Runtime) -> Trained | None:
    """Train `cell` on as many processes as the profile asks for and the machine and the batch can have.

    None on a node that does not lead.
    """
    processes = usable_processes(runtime, cell.params.batch_size)
    return train_cell(cell, runtime) if processes == 1 else _supervise(cell, runtime, processes)


def usable_processes(runtime: Runtime, batch_size: int) -> int:
    """How many processes: not more than a batch has patches, nor than there are GPUs where GPUs compute.

    On several nodes each has as many. Raises CapillaryError if a batch has not a patch for each node.
    """
    wanted, nodes = runtime.compute.processes, _nodes(runtime)
    if batch_size < nodes:
        raise ParamsError(
            f"a batch of {counted(batch_size, 'patch', 'patches')} cannot be shared by {nodes} nodes",
            remedy="raise training.batch_size, or lower `nodes` in configs/slurm.yaml or configs/ray.yaml",
        )
    on_gpu = choose_device(runtime.compute).type == "cuda"
    possible = min(batch_size, nodes * torch.cuda.device_count() if on_gpu else batch_size)
    possible -= possible % nodes
    if wanted > possible:
        limit = "GPUs" if on_gpu and possible + nodes <= batch_size else "patches in a batch"
        log.info(f"{possible} processes instead of {wanted}: there are no more {limit}")
    return min(wanted, possible)


def _nodes(runtime: Runtime) -> int:
    return 1 if runtime.rendezvous is None else runtime.compute.nodes


def _supervise(cell: Cell, runtime: Runtime, processes: int) -> Trained | None:
    _choose_interface(runtime.rendezvous)
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
                    launch = _configure(runtime, processes, logs)
                    reports: dict[int, Trained | None] = elastic_launch(launch, _work)(cell, runtime, board)
                except distributed.DistError as error:
                    if runtime.rendezvous is None:
                        raise
                    raise _not_met(error) from error
                except ChildFailedError as error:
                    if (reported := board.reported()) is not None:
                        raise reported from None
                    if runtime.rendezvous is not None:
                        raise _lost(error) from error
                    if start > MOST_RESTARTS:
                        raise _died(error) from error
                    log.warning(
                        f"{_how(error)}; all start again from the checkpoint ({start} of {MOST_RESTARTS} times)"
                    )
                else:
                    return reports.get(0)
    raise AssertionError("the loop ends by returning or raising")


def _choose_interface(rendezvous: Rendezvous | None) -> None:
    """Tell gloo which interface to use; by itself it takes that of the host's name, which may be the loopback."""
    # one machine: the processes' own traffic stays on it
    interface = _LOOPBACK if rendezvous is None else rendezvous.interface
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)


def _configure(runtime: Runtime, processes: int, logs: str) -> LaunchConfig:
    rendezvous, nodes = runtime.rendezvous, _nodes(runtime)
    return LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=processes // nodes,
        run_id="capillary",
        # static: the number of a node decides which has rank 0
        rdzv_backend="c10d" if rendezvous is None else "static",
        rdzv_endpoint="localhost:0" if rendezvous is None else f"{rendezvous.host}:{rendezvous.port}",  # 0: a free port
        rdzv_configs={} if rendezvous is None else {"rank": rendezvous.node, "timeout": MEETING_S},
        local_addr="localhost" if rendezvous is None else None,
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
    local = int(os.environ["LOCAL_RANK"])
    ranks = Ranks(rank=rank, size=size, batch_size=cell.params.batch_size, local=local)
    if ranks.leads:
        tell_as(runtime)
    else:
        print_nothing()
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
    return "cpu:gloo,cuda:nccl" if choose_device(runtime.compute).type == "cuda" else "gloo"


def _how(error: ChildFailedError) -> str:
    rank, failure = error.get_first_failure()
    cause = f"by {failure.signal_name()}" if failure.exitcode < 0 else f"with exit code {failure.exitcode}"
    return f"a process of the training died: rank {rank} ended {cause}"


def _lost(error: ChildFailedError) -> CapillaryError:
    return CapillaryError(
        "the training lost a process on this node or on another",
        remedy="see above for the cause; the training resumes from its checkpoint",
        code=ExitCode.RANK_LOST,
        value=_how(error),
    )


def _not_met(error: Exception) -> CapillaryError:
    return CapillaryError(
        "the nodes of the training did not find each other",
        remedy=f"they have {MEETING_S} s to begin, and need to reach each other on any port; see above for a node that "
        "failed",
        code=ExitCode.RANK_LOST,
        value=str(error).partition("\n")[0],
    )


def _died(error: ChildFailedError) -> CapillaryError:
    return MachineError(
        f"a process of the training died, and again after {MOST_RESTARTS} restarts",
        remedy="see above for the cause, and dmesg for a lack of memory; then rerun the same command: the training "
        "resumes "
        "from its checkpoint. CAPILLARY_PROCESSES=1 trains in one process",
        value=_how(error),
    )
