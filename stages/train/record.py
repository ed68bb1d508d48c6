"""What a training leaves in MLflow: its run while it works, its network in the registry at its end."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace

import torch

from stages.common.layout import lay_out_plainly
from stages.common.networks.description import describe
from stages.common.networks.supervision import number_of_heads, plain
from stages.common.networks.weights import ties_of
from stages.common.progress import say
from stages.common.runtime import BY_HAND, Runtime
from stages.common.tracking.model_files import Package, pack
from stages.common.tracking.registry import (
    CARD_TAG,
    FINGERPRINT_TAG,
    SEED_TAG,
    SETUP_TAG,
    ModelCard,
    card_json,
    register_model,
)
from stages.common.tracking.runs import TrackedRun, open_run
from stages.common.tracking.system_metrics import LOAD_FILE
from stages.train.cell import Cell
from stages.train.domain import measure_domain
from stages.train.loop.state import TrainingState


@contextlib.contextmanager
def recorded(cell: Cell, runtime: Runtime, state: TrainingState, device: torch.device) -> Iterator[TrackedRun]:
    """The cell's MLflow run: opened or continued, with what it lacks. It ends as the block does."""
    run = open_run(
        runtime,
        cell_tags={"loss": cell.loss, "fold": str(cell.fold)},
        run_name=f"{cell.loss}-{cell.fold}",
        run_id=state.run_id,
        load_file=runtime.state_dir / LOAD_FILE,
    )
    state.run_id = run.run_id
    with run:
        # which of torch's builds the driver got: a run that moves to another machine may go on with another
        run.set_tags({"capillary.torch": torch.__version__, "capillary.torch_cuda": torch.version.cuda or "cpu"})
        run.log_params(_run_params(cell, runtime, state, device))
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
    """Register the network of `state` under the cell's name; the card that tells where it is."""
    package = _packed(cell, state)
    card = ModelCard(
        loss=cell.loss,
        fold=cell.fold,
        run_id=run.run_id,
        model_name="",
        model_version="",
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
    tags = {CARD_TAG: card_json(card), **_identity(cell, runtime)}
    name, version = register_model(
        package,
        server=run.server,
        run_id=run.run_id,
        loss=cell.loss,
        fold=cell.fold,
        extra_tags=tags,
        with_alias=False,  # "trained last" is not a reason to use a network: trainings have aliases
    )
    say(f"registered {name} version {version} (run {run.run_id})")
    return replace(card, model_name=name, model_version=version)


def _identity(cell: Cell, runtime: Runtime) -> dict[str, str]:
    """Tags that say which training the network is of: its own fingerprint, its seed, and what all cells share."""
    params = {key: value for key, value in cell.params.model_dump(mode="json").items() if key != "seed"}
    setup = [cell.loss, runtime.data_fingerprint, runtime.code_fingerprint, params]
    digest = hashlib.sha256(json.dumps(setup, sort_keys=True).encode()).hexdigest()
    identity = {SETUP_TAG: digest, SEED_TAG: str(cell.params.seed)}
    # a stage that was started by hand has no fingerprint that says what it was trained with
    return identity if runtime.fingerprint == BY_HAND else {**identity, FINGERPRINT_TAG: runtime.fingerprint}


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
