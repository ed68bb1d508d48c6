"""How an evaluation computes, in the record of its provenance."""

from collections.abc import Collection, Sequence

from stages.common.backends.network import TORCH
from stages.common.device import choose_device
from stages.common.provenance.of_run import log_record
from stages.common.provenance.record import Computing
from stages.common.runtime import Runtime
from stages.common.tracking.runs import TrackedRun
from stages.evaluate.cells import Cell
from stages.evaluate.params import EvaluateParams


def log_provenance(
    run: TrackedRun,
    cells: Sequence[Cell],
    params: EvaluateParams,
    runtime: Runtime,
    backends: Collection[str] = (TORCH,),
) -> None:
    """Leave in `run` where the evaluation of `cells` comes from: it may be newer than their trainings.

    `backends` names what computed the predictions.
    """
    computing = Computing(
        device=choose_device(runtime.compute).type,
        threads=runtime.threads,
        processes=1,
        precision=", ".join(sorted({cell.card.precision for cell in cells})),
        switches="none" if set(backends) <= {TORCH} else ", ".join(sorted(backends)),
        profile=runtime.compute.profile,
        seeds={"evaluation": params.evaluation.seed},
    )
    log_record(run, runtime, computing)
