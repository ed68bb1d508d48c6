"""A training on the phantom stacks in this process: for tests and benchmarks of what happens within a step."""

from pathlib import Path

import torch
import yaml

from stages.common.runtime import Compute
from stages.train.cell import plan_cell
from stages.train.distributed.ranks import ALONE
from stages.train.losses import build_loss
from stages.train.params import TrainingParams
from stages.train.part import RankSetup
from stages.train.resuming.interrupt import Interrupt
from stages.train.sampling.loading import PatchDataset, first_batch
from tests.support.parts import REPOSITORY
from tests.support.stacks.preprocess_sandbox import Sandbox
from tests.unit.stages.train.tiny import runtime_in


def prepare_phantom(folder: Path) -> Path:
    """data/processed of samples/phantom in `folder`, by the real preprocess."""
    sandbox = Sandbox(folder)
    sandbox.add_source(REPOSITORY / "samples" / "phantom")
    sandbox.succeed()
    return sandbox.processed


def shipped_params(**changes: object) -> TrainingParams:
    """Those of params.yaml with `changes`."""
    shipped = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["training"]
    values = {key: value for key, value in shipped.items() if key in TrainingParams.model_fields}
    return TrainingParams.model_validate(values | changes, strict=False)


def plan_training(
    processed: Path, state_dir: Path, params: TrainingParams, loss: str, device: torch.device
) -> RankSetup:
    """Fold 0 under `loss`, alone on `device`, with every volume in memory and every batch with its skeleton."""
    cell = plan_cell(processed, params, loss, 0)
    dataset = PatchDataset(cell.training, params, needs_skeleton=True, keep_in_memory=True)
    return RankSetup(
        cell=cell,
        runtime=runtime_in(state_dir, Compute()),
        loss=build_loss(loss),
        dataset=dataset,
        batch=first_batch(dataset, params).to(device),
        interrupt=Interrupt(),
        device=device,
        ranks=ALONE,
    )
