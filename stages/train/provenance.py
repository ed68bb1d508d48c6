"""How a training computes, in the record of its provenance."""

import torch

from stages.common.provenance.of_run import log_record
from stages.common.provenance.record import Computing
from stages.common.runtime import Runtime
from stages.common.tracking.runs import TrackedRun
from stages.train.cell import Cell
from stages.train.loop.state import TrainingState


def log_provenance(run: TrackedRun, cell: Cell, runtime: Runtime, state: TrainingState, device: torch.device) -> None:
    """Leave in `run` where the training that is at `state` comes from."""
    computing = Computing(
        device=device.type,
        threads=runtime.threads,
        processes=state.switches.processes,
        precision=state.precision.name,
        switches=state.switches.describe(),
        profile=runtime.compute.profile,
        seeds={"training": cell.params.seed},
        resumed_after=state.epoch,
    )
    log_record(run, runtime, computing)
