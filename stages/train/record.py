"""What a training leaves in MLflow: its run while it works, its network in the registry at its end."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict

import torch

from stages.common.layout import lay_out_plainly
from stages.common.networks.description import describe
from stages.common.networks.supervision import number_of_heads, plain
from stages.common.networks.weights import ties_of
from stages.common.packing import pack
from stages.common.provenance.record import short_tags
from stages.common.runtime import BY_HAND, Runtime
from stages.common.tracking.cards.card import ModelCard
from stages.common.tracking.model_files import Package
from stages.common.tracking.publishing import NETWORK_KIND, network_files
from stages.common.tracking.registry import SEED_TAG, SETUP_TAG
from stages.common.tracking.runs import TrackedRun, open_run
from stages.common.tracking.system_metrics import LOAD_FILE
from stages.train.cell import Cell
from stages.train.domain import measure_domain
from stages.train.loop.state import TrainingState
from stages.train.provenance import log_provenance


@contextlib.contextmanager
def recorded(
    cell: Cell,
    runtime: Runtime,
    state: TrainingState,
    device: torch.device,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[TrackedRun]:
    """The cell's MLflow run: opened or continued, with what it lacks. It ends as the block does.

    `stopped` says whether somebody asked to stop, which ends the wait for a server at the end.
    """
    run = open_run(
        runtime,
        cell_tags={"loss": cell.loss, "fold": str(cell.fold), "seed": str(cell.params.seed)},
        run_name=cell.name.address.partition("@")[2],
        run_id=state.run_id,
        load_file=runtime.state_dir / LOAD_FILE,
        stopped=stopped,
    )
    state.run_id = run.id
    with run:
        # which of torch's builds the driver got: a run that moves to another machine may continue with another
        run.set_tags({"capillary.torch": torch.__version__, "capillary.torch_cuda": torch.version.cuda or "cpu"})
        run.log_params(_run_params(cell, runtime, state, device))
        log_provenance(run, cell, runtime, state, device)
        run.backfill({record.epoch: record.points() for record in state.history})
        yield run


def _run_params(cell: Cell, runtime: Runtime, state: TrainingState, device: torch.device) -> dict[str, object]:
    return {
        **{f"training.{key}": value for key, value in cell.params.model_dump(mode="json").items()},
        "loss": cell.loss,
        "fold": cell.fold,
        "training_volumes": ", ".join(volume.id for volume in cell.training),
        "validation_volumes": ", ".join(volume.id for volume in cell.validation),
        "network": cell.plan.describe(),
        "network_heads": number_of_heads(state.network),
        "network_parameters": sum(parameter.numel() for parameter in plain(state.network).parameters()),
        "precision": state.precision.name,
        "precision_reason": state.precision.reason,
        "switches": state.switches.describe(),
        "profile": runtime.compute.profile,
        "device": device.type,
        "threads": runtime.threads,
        "processes": state.switches.processes,
    }


def _last_validation(state: TrainingState) -> float:
    dsc = state.history[-1].validation_dsc
    assert dsc is not None, "the last epoch is always validated"
    return dsc


def register(cell: Cell, runtime: Runtime, state: TrainingState, run: TrackedRun) -> ModelCard:
    """Hand the network of `state` to the registry, which has it now or later; its card."""
    package = _packed(cell, state)
    card = ModelCard(
        loss=cell.loss,
        fold=cell.fold,
        seed=cell.params.seed,
        setup=_setup(cell, runtime),
        weights_sha256=package.weights_sha256,
        patch_voxels=cell.params.patch_voxels,
        epochs=cell.params.max_epochs,
        validation_dsc=_last_validation(state),
        fingerprint=runtime.fingerprint,
        precision=state.precision.name,
        recipe=cell.recipe,
        files=package.files,
        domain=measure_domain(cell.training),
    )
    tags = {SEED_TAG: str(card.seed), **short_tags(runtime.provenance)}
    if card.setup is not None:
        tags[SETUP_TAG] = card.setup
    run.publish(NETWORK_KIND, network_files(package, card, tags))
    return card


def _setup(cell: Cell, runtime: Runtime) -> str | None:
    """What all cells of a training have in common; None by hand, where nothing says what it was trained with."""
    if runtime.fingerprint == BY_HAND:
        return None
    params = {key: value for key, value in cell.params.model_dump(mode="json").items() if key != "seed"}
    setup = [cell.loss, runtime.data_fingerprint, runtime.code_fingerprint, params]
    return hashlib.sha256(json.dumps(setup, sort_keys=True).encode()).hexdigest()


def _packed(cell: Cell, state: TrainingState) -> Package:
    network = plain(state.network).cpu().eval()
    lay_out_plainly(network)
    description = describe(
        cell.params.architecture,
        cell.plan,
        precision=state.precision.name,
        recipe=asdict(cell.recipe),
        ties=ties_of(network),
    )
    return pack(network, description)
