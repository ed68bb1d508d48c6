"""One cell of the matrix, from its volumes to a registered model: what happens around the training loop."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils import deterministic

from stages.common.errors import DataError
from stages.common.progress import say
from stages.common.recipe import Recipe, read_recipe
from stages.common.registry import CARD_TAG, ModelCard, card_json, register_model, weights_sha256
from stages.common.runtime import Compute, Runtime
from stages.common.system_metrics import LOAD_FILE
from stages.common.tracking import TrackedRun, open_run
from stages.common.volumes import Volume, fold_split, read_manifest
from stages.train.computing.precision import Decision, confirm_precision, decide_precision, describe_machine
from stages.train.computing.probe import fit, probe_gpu
from stages.train.computing.switches import Switches, asked_for, lay_out, resumed
from stages.train.loop.engine import Setup, run_training
from stages.train.loop.history import EpochRecord
from stages.train.loop.schedule import plan_schedule
from stages.train.loop.state import TrainingState
from stages.train.losses import Loss, build_loss
from stages.train.networks.plan import NetworkPlan, build_network, median_spacing_um, plan_network
from stages.train.params import TrainingParams
from stages.train.resuming.checkpoint import Checkpoints
from stages.train.resuming.interrupt import Interrupt, listening
from stages.train.resuming.lock import cell_lock
from stages.train.sampling.loading import Batch, PatchDataset, batches, first_batch

# A patch costs 2 to 3 ms and a CPU training's step uses every core anyway: loader processes would only compete with it.
WORKERS_ON_CPU = 0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training: a loss, a fold, and everything that follows from them and the params."""

    loss: str
    fold: int
    params: TrainingParams
    plan: NetworkPlan
    training: list[Volume]
    validation: list[Volume]
    recipe: Recipe


def plan_cell(processed: Path, params: TrainingParams, loss: str, fold: int) -> Cell:
    """Everything that can be refused before anything is trained. Raises DataError and ParamsError.

    The network follows from the spacing of all volumes, so every fold trains the same one.
    """
    spacing_um = median_spacing_um([volume.spacing_um for volume in read_manifest(processed)])
    training, validation = fold_split(processed, fold)
    if not training or not validation:
        raise DataError(
            f"fold {fold} has {len(training)} volumes to train on and {len(validation)} to validate on",
            remedy="give every fold at least one of each in the file that preprocess.splits_file names",
            file=processed / "splits.json",
        )
    plan = plan_network(spacing_um=spacing_um, patch_voxels=params.patch_voxels, filters=params.filters)
    return Cell(
        loss=loss,
        fold=fold,
        params=params,
        plan=plan,
        training=training,
        validation=validation,
        recipe=read_recipe(processed),
    )


def train_cell(cell: Cell, runtime: Runtime) -> tuple[ModelCard, list[EpochRecord]]:
    """Train `cell`, or finish what an earlier process began, and register its last epoch's model.

    The last epoch's, never the best one's: the fold that is reported must not choose its own model.
    """
    device = torch.device("cuda" if torch.cuda.is_available() and runtime.compute.device != "cpu" else "cpu")
    configure_torch(runtime, device)
    with cell_lock(runtime.state_dir), listening(runtime.monitoring.memory_abort_gb) as interrupt:
        loss = build_loss(cell.loss)
        keep = runtime.compute.cache == "memory"
        dataset = PatchDataset(cell.training, cell.params, needs_skeleton=loss.needs_skeleton, keep_in_memory=keep)
        checkpoints = Checkpoints(runtime.state_dir, _identity(cell, runtime))
        batch = first_batch(dataset, cell.params)
        state = start_or_resume(cell, loss, batch, checkpoints, device, runtime.compute)
        with _recorded(cell, runtime, state, device) as run:
            setup = _set_up(cell, runtime, loss, dataset, checkpoints, interrupt, device, run)
            run_training(setup, state)
            card = _register(cell, runtime, state, run)
        state.done = True
        checkpoints.save(state.as_dict())
    return card, state.history


def configure_torch(runtime: Runtime, device: torch.device) -> None:
    """Fixed algorithms and thread count, so that equal trainings end with equal weights."""
    torch.set_num_threads(runtime.threads)
    # some CUDA kernels have no deterministic form; there equal weights are not promised
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    # filling fresh tensors with NaN is for finding reads of them, and costs a tenth of a step
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property that torch adds later
    torch.backends.cudnn.benchmark = False


def start_or_resume(
    cell: Cell,
    loss: Loss,
    batch: Batch,
    checkpoints: Checkpoints,
    device: torch.device,
    compute: Compute,
) -> TrainingState:
    """The state of the latest checkpoint, or that of a training's beginning. `batch` is for the probes."""
    saved = checkpoints.load()
    network = build_network(cell.plan, cell.params.seed).to(device)
    batch = batch.to(device)
    if saved is not None:
        decision, switches = _former_choices(saved, cell, loss, batch, network, compute)
    elif device.type == "cuda":
        decision, switches = probe_gpu(cell.params, compute, network, batch, loss)
    else:
        decision = decide_precision(cell.params.precision, network, batch, loss, device, allow_half=compute.amp)
        switches = asked_for(compute, cell.params.batch_size)
    switches.apply(network)
    say(f"precision {decision.name}: {decision.reason}; {switches.describe()}")
    state = TrainingState(
        network=network,
        optimizer=torch.optim.AdamW(
            network.parameters(), lr=cell.params.learning_rate, weight_decay=cell.params.weight_decay
        ),
        scaler=torch.amp.GradScaler(device.type, enabled=decision.name == "fp16"),
        precision=decision,
        switches=switches,
    )
    if saved is not None:
        state.restore(saved)
        say(f"resuming after epoch {state.epoch}, step {state.tally.steps_done}")
    return state


def _former_choices(
    saved: dict[str, Any], cell: Cell, loss: Loss, batch: Batch, network: torch.nn.Module, compute: Compute
) -> tuple[Decision, Switches]:
    """What a checkpoint's training computes with; on another GPU only the micro-batch is found anew."""
    decision, switches = Decision(**saved["precision"]), Switches(**saved["switches"])
    device = batch.image.device
    confirm_precision(decision, network, batch, loss, device)
    if device.type == "cuda" and decision.machine != describe_machine(device):
        return decision, fit(switches, compute, network, batch, loss, decision)
    return decision, resumed(switches, compute, cell.params.batch_size)


def _identity(cell: Cell, runtime: Runtime) -> dict[str, object]:
    """Whose a checkpoint is. The fingerprint tells it all, except for a stage that was started by hand."""
    params = {f"training.{key}": value for key, value in cell.params.model_dump(mode="json").items()}
    return {"fingerprint": runtime.fingerprint, "loss": cell.loss, "fold": cell.fold, **params}


@contextlib.contextmanager
def _recorded(cell: Cell, runtime: Runtime, state: TrainingState, device: torch.device) -> Iterator[TrackedRun]:
    """The cell's MLflow run: opened or continued, with what it lacks; FINISHED or FAILED at the end of the block."""
    run = open_run(
        runtime,
        cell_tags={"loss": cell.loss, "fold": str(cell.fold)},
        run_name=f"{cell.loss}-{cell.fold}",
        run_id=state.run_id,
        load_file=runtime.state_dir / LOAD_FILE,
    )
    state.run_id = run.run_id
    try:
        run.log_params(_run_params(cell, runtime, state, device))
        run.backfill({record.epoch: record.points() for record in state.history})
        yield run
        run.finish()
    except BaseException as error:
        run.fail(str(error))
        raise


def _run_params(cell: Cell, runtime: Runtime, state: TrainingState, device: torch.device) -> dict[str, object]:
    return {
        **{f"training.{key}": value for key, value in cell.params.model_dump(mode="json").items()},
        "loss": cell.loss,
        "fold": cell.fold,
        "training_volumes": ", ".join(volume.id for volume in cell.training),
        "validation_volumes": ", ".join(volume.id for volume in cell.validation),
        "network": cell.plan.describe(),
        "network_parameters": sum(parameter.numel() for parameter in state.network.parameters()),
        "precision": state.precision.name,
        "precision_reason": state.precision.reason,
        "switches": state.switches.describe(),
        "profile": runtime.compute.profile,
        "device": device.type,
        "threads": runtime.threads,
    }


def _set_up(
    cell: Cell,
    runtime: Runtime,
    loss: Loss,
    dataset: PatchDataset,
    checkpoints: Checkpoints,
    interrupt: Interrupt,
    device: torch.device,
    run: TrackedRun,
) -> Setup:
    on_gpu = device.type == "cuda"
    workers = runtime.workers if on_gpu else WORKERS_ON_CPU
    return Setup(
        params=cell.params,
        schedule=plan_schedule(cell.params),
        loss=loss,
        batches=lambda first_step: batches(dataset, cell.params, first_step, workers, pin_memory=on_gpu),
        validation=cell.validation,
        checkpoints=checkpoints,
        interrupt=interrupt,
        device=device,
        log=lambda record: run.log_metrics(record.points(), step=record.epoch),
    )


def _last_validation(state: TrainingState) -> float:
    dsc = state.history[-1].validation_dsc
    assert dsc is not None, "the last epoch is always validated"
    return dsc


def _register(cell: Cell, runtime: Runtime, state: TrainingState, run: TrackedRun) -> ModelCard:
    network = state.network.cpu().eval()
    lay_out(network, torch.contiguous_format)
    card = ModelCard(
        loss=cell.loss,
        fold=cell.fold,
        run_id=run.run_id,
        model_name="",
        model_version="",
        weights_sha256=weights_sha256(network),
        patch_voxels=cell.params.patch_voxels,
        epochs=cell.params.max_epochs,
        validation_dsc=_last_validation(state),
        fingerprint=runtime.fingerprint,
        precision=state.precision.name,
        recipe=cell.recipe,
    )
    tags = {CARD_TAG: card_json(card)}
    name, version = register_model(
        network, server=run.server, run_id=run.run_id, loss=cell.loss, fold=cell.fold, extra_tags=tags
    )
    say(f"registered {name} version {version} (run {run.run_id})")
    return replace(card, model_name=name, model_version=version)
