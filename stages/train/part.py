"""What a process of a training works with, and the state in which it begins or continues."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import deterministic

from stages.common.device import choose_device
from stages.common.layout import copy_channels_last
from stages.common.networks.catalogue import build_network
from stages.common.program.messages import get_logger
from stages.common.runtime import Runtime
from stages.train.cell import Cell
from stages.train.computing.precision import Decision, confirm_precision, describe_machine
from stages.train.computing.probe import fit, probe_cpu, probe_gpu
from stages.train.computing.switches import Switches, resumed, shared_by
from stages.train.distributed.ranks import Ranks
from stages.train.loop.state import TrainingState
from stages.train.losses import Loss, build_loss
from stages.train.resuming.interrupt import Interrupt
from stages.train.sampling.loading import Batch, PatchDataset, first_batch

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class RankSetup:
    """What a process of a training works with from its beginning. `batch` is its share of the first one."""

    cell: Cell
    runtime: Runtime
    loss: Loss
    dataset: PatchDataset
    batch: Batch
    interrupt: Interrupt
    device: torch.device
    ranks: Ranks


def set_up_rank(cell: Cell, runtime: Runtime, interrupt: Interrupt, ranks: Ranks) -> RankSetup:
    """Set torch up for `cell` on the device of this rank and draw the first batch."""
    device = choose_device(runtime.compute, ranks.local)
    configure_torch(runtime, device)
    loss = build_loss(cell.loss)
    keep = runtime.compute.cache == "memory"
    dataset = PatchDataset(cell.training, cell.params, needs_skeleton=loss.needs_skeleton, keep_in_memory=keep)
    return RankSetup(
        cell=cell,
        runtime=runtime,
        loss=loss,
        dataset=dataset,
        batch=first_batch(dataset, cell.params, ranks).to(device),
        interrupt=interrupt,
        device=device,
        ranks=ranks,
    )


def configure_torch(runtime: Runtime, device: torch.device) -> None:
    """Fixed algorithms and thread count, so that equal trainings end with equal weights."""
    torch.set_num_threads(runtime.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # some CUDA kernels have no deterministic form; there equal weights are not promised
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    # filling fresh tensors with NaN is for finding reads of them, and costs a tenth of a step
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property that torch adds later
    torch.backends.cudnn.benchmark = False


def start_or_resume(part: RankSetup, load: Callable[[], dict[str, Any] | None]) -> TrainingState:
    """The state that `load` gives on rank 0 (a checkpoint's), or that of a training's beginning, on every rank."""
    params, ranks = part.cell.params, part.ranks
    saved = ranks.once(load)
    network = build_network(
        part.cell.plan, params.seed, architecture=params.architecture, deep_supervision=params.deep_supervision
    ).to(part.device)
    decision, switches = ranks.once(lambda: _choices(part, network, saved))
    switches = shared_by(switches, ranks.size, resumed_here=saved is not None)
    switches.apply(network)
    log.info(f"precision {decision.name}: {decision.reason}; {switches.describe()}")
    state = TrainingState(
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay),
        scaler=torch.amp.GradScaler(part.device.type, enabled=decision.name == "fp16"),
        precision=decision,
        switches=switches,
    )
    if saved is not None:
        state.restore(saved)
        log.info(f"resuming after epoch {state.epoch}, step {state.tally.steps_done}")
    return state


def _choices(part: RankSetup, network: torch.nn.Module, saved: dict[str, Any] | None) -> tuple[Decision, Switches]:
    """How to compute: as a checkpoint's training did, else as a probe finds."""
    params, compute, batch, loss = part.cell.params, part.runtime.compute, part.batch, part.loss
    if saved is not None:
        return _former_choices(part, network, saved)
    probe = probe_gpu if part.device.type == "cuda" else probe_cpu
    return probe(params, compute, network, batch, loss)


def _former_choices(part: RankSetup, network: torch.nn.Module, saved: dict[str, Any]) -> tuple[Decision, Switches]:
    """What a checkpoint's training computes with; on another GPU only the micro-batch is found again."""
    compute, batch, device = part.runtime.compute, part.batch, part.device
    decision, switches = Decision(**saved["precision"]), Switches(**saved["switches"])
    laid_out = copy_channels_last(network) if switches.channels_last else None
    confirm_precision(decision, network, batch, part.loss, device, laid_out)
    if device.type == "cuda" and decision.machine != describe_machine(device):
        return decision, fit(switches, compute, network, batch, part.loss, decision)
    return decision, resumed(switches, compute, len(batch.image))
