"""One cell of the matrix, from its volumes to a registered model: what happens around the training loop."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils import deterministic

from stages.common.errors import DataError
from stages.common.imaging.recipe import Recipe, read_recipe
from stages.common.imaging.volumes import Volume, fold_split, read_manifest
from stages.common.monitoring.process_memory import ProcessTree
from stages.common.monitoring.system_metrics import LOAD_FILE
from stages.common.progress import say
from stages.common.runtime import Compute, Runtime
from stages.common.tracking.registry import CARD_TAG, ModelCard, card_json, register_model, weights_sha256
from stages.common.tracking.runs import TrackedRun, open_run
from stages.train.computing.precision import Decision, confirm_precision, decide_precision, describe_machine
from stages.train.computing.probe import fit, probe_gpu
from stages.train.computing.switches import Switches, asked_for, lay_out, resumed, shared_by
from stages.train.distributed.ranks import ALONE, Ranks
from stages.train.loop.engine import Setup, run_training
from stages.train.loop.history import EpochRecord
from stages.train.loop.schedule import plan_schedule
from stages.train.loop.state import TrainingState
from stages.train.loop.validate import plan_tiles
from stages.train.losses import Loss, build_loss
from stages.train.networks.catalogue import build_network, find_architecture
from stages.train.networks.plan import NetworkPlan, median_spacing_um, plan_network
from stages.train.networks.supervision import number_of_heads, plain
from stages.train.params import TrainingParams
from stages.train.resuming.background import BackgroundCheckpoints, NoCheckpoints, Saver
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
    find_architecture(params.architecture)
    plan = plan_network(
        spacing_um=spacing_um,
        patch_voxels=params.patch_voxels,
        filters=params.filters,
        kernel_rule=params.kernels,
    )
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
    """Train `cell` in this process alone, or finish what an earlier one began, and register its last epoch's model.

    The last epoch's, never the best one's: the fold that is reported must not choose its own model.
    """
    with cell_lock(runtime.state_dir), listening(runtime.monitoring.memory_abort_gb) as interrupt:
        return lead(cell, runtime, interrupt)


def lead(
    cell: Cell, runtime: Runtime, interrupt: Interrupt, ranks: Ranks = ALONE
) -> tuple[ModelCard, list[EpochRecord]]:
    """Rank 0's part of a training: it computes its share, and alone keeps checkpoints, records and registers."""
    part = _part(cell, runtime, interrupt, ranks)
    files = Checkpoints(runtime.state_dir, _identity(cell, runtime))
    with BackgroundCheckpoints(files) as checkpoints:
        state = start_or_resume(part, files.load)
        with _recorded(cell, runtime, state, part.device) as run:
            run_training(_set_up(part, checkpoints, run), state)
            card = _register(cell, runtime, state, run)
        state.done = True
        checkpoints.save(state.as_dict())
    return card, state.history


def follow(cell: Cell, runtime: Runtime, interrupt: Interrupt, ranks: Ranks) -> None:
    """Any other rank's part of a training: it computes its share and leaves the rest to rank 0."""
    part = _part(cell, runtime, interrupt, ranks)
    state = start_or_resume(part, lambda: None)
    run_training(_set_up(part, NoCheckpoints(), None), state)


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a process of a training works with from its beginning. `batch` is its share of the first one."""

    cell: Cell
    runtime: Runtime
    loss: Loss
    dataset: PatchDataset
    batch: Batch
    interrupt: Interrupt
    device: torch.device
    ranks: Ranks


def _part(cell: Cell, runtime: Runtime, interrupt: Interrupt, ranks: Ranks) -> Part:
    device = find_device(runtime.compute, ranks.rank)
    configure_torch(runtime, device)
    loss = build_loss(cell.loss)
    keep = runtime.compute.cache == "memory"
    dataset = PatchDataset(cell.training, cell.params, needs_skeleton=loss.needs_skeleton, keep_in_memory=keep)
    return Part(
        cell=cell,
        runtime=runtime,
        loss=loss,
        dataset=dataset,
        batch=first_batch(dataset, cell.params, ranks).to(device),
        interrupt=interrupt,
        device=device,
        ranks=ranks,
    )


def find_device(compute: Compute, rank: int = 0) -> torch.device:
    """Where rank number `rank` computes: a GPU each, or all of them the CPU."""
    return torch.device("cuda", rank) if torch.cuda.is_available() and compute.device != "cpu" else torch.device("cpu")


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


def start_or_resume(part: Part, load: Callable[[], dict[str, Any] | None]) -> TrainingState:
    """The state that `load` gives on rank 0 (a checkpoint's), or that of a training's beginning, on every rank."""
    params, ranks = part.cell.params, part.ranks
    saved = ranks.once(load)
    network = build_network(
        part.cell.plan, params.seed, architecture=params.architecture, deep_supervision=params.deep_supervision
    ).to(part.device)
    decision, switches = ranks.once(lambda: _choices(part, network, saved))
    switches = shared_by(switches, ranks.size, resumed_here=saved is not None)
    switches.apply(network)
    say(f"precision {decision.name}: {decision.reason}; {switches.describe()}")
    state = TrainingState(
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay),
        scaler=torch.amp.GradScaler(part.device.type, enabled=decision.name == "fp16"),
        precision=decision,
        switches=switches,
    )
    if saved is not None:
        state.restore(saved)
        say(f"resuming after epoch {state.epoch}, step {state.tally.steps_done}")
    return state


def _choices(part: Part, network: torch.nn.Module, saved: dict[str, Any] | None) -> tuple[Decision, Switches]:
    """How to compute: as a checkpoint's training did, else as a probe finds."""
    params, compute, batch, loss = part.cell.params, part.runtime.compute, part.batch, part.loss
    if saved is not None:
        return _former_choices(part, network, saved)
    if part.device.type == "cuda":
        return probe_gpu(params, compute, network, batch, loss)
    decision = decide_precision(params.precision, network, batch, loss, part.device, allow_half=compute.amp)
    return decision, asked_for(compute, len(batch.image))


def _former_choices(part: Part, network: torch.nn.Module, saved: dict[str, Any]) -> tuple[Decision, Switches]:
    """What a checkpoint's training computes with; on another GPU only the micro-batch is found anew."""
    compute, batch, device = part.runtime.compute, part.batch, part.device
    decision, switches = Decision(**saved["precision"]), Switches(**saved["switches"])
    confirm_precision(decision, network, batch, part.loss, device)
    if device.type == "cuda" and decision.machine != describe_machine(device):
        return decision, fit(switches, compute, network, batch, part.loss, decision)
    return decision, resumed(switches, compute, len(batch.image))


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


def _set_up(part: Part, checkpoints: Saver, run: TrackedRun | None) -> Setup:
    params, ranks, on_gpu = part.cell.params, part.ranks, part.device.type == "cuda"
    workers = part.runtime.workers if on_gpu else WORKERS_ON_CPU

    def log(record: EpochRecord) -> None:
        if run is not None:
            run.log_metrics(record.points(), step=record.epoch)

    return Setup(
        params=params,
        schedule=plan_schedule(params),
        loss=part.loss,
        batches=lambda first_step: batches(part.dataset, params, first_step, workers, pin_memory=on_gpu, ranks=ranks),
        validation=part.cell.validation,
        tiles=plan_tiles([volume.shape_zyx for volume in part.cell.validation], params),
        checkpoints=checkpoints,
        interrupt=part.interrupt,
        device=part.device,
        log=log,
        ranks=ranks,
        tree=ProcessTree(None if ranks.size == 1 else os.getppid()),
    )


def _last_validation(state: TrainingState) -> float:
    dsc = state.history[-1].validation_dsc
    assert dsc is not None, "the last epoch is always validated"
    return dsc


def _register(cell: Cell, runtime: Runtime, state: TrainingState, run: TrackedRun) -> ModelCard:
    network = plain(state.network).cpu().eval()
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
