"""Every loss by what it is for: training a network that finds vessels in stacks it has not seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from stages.common.inference import predict_probability
from stages.common.runtime import Compute
from stages.common.volumes import Volume
from stages.train.cell import Part, plan_cell, start_or_resume
from stages.train.distributed.ranks import ALONE
from stages.train.loop.schedule import plan_schedule
from stages.train.loop.state import TrainingState
from stages.train.loop.step import StepTaken, take_step
from stages.train.losses import LOSSES, build_loss
from stages.train.params import TrainingParams
from stages.train.resuming.interrupt import Interrupt
from stages.train.sampling.loading import PatchDataset, batches, first_batch
from tests.integration.preprocess_sandbox import Sandbox
from tests.support.parts import REPOSITORY
from tests.unit.stages.train.tiny import runtime_in

LEAST_DSC = 0.75
# a small network and few steps: seconds a loss instead of minutes
SHORT = {
    "max_epochs": 5,
    "steps_per_epoch": 20,
    "warmup_epochs": 1,
    "filters": [8, 16, 32],
    "patch_voxels": [12, 48, 48],
    "learning_rate": 0.015,
}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/processed of samples/phantom, by the real preprocess."""
    sandbox = Sandbox(tmp_path_factory.mktemp("phantom"))
    sandbox.add_source(REPOSITORY / "samples" / "phantom")
    sandbox.succeed()
    return sandbox.processed


@pytest.fixture(scope="module")
def params() -> TrainingParams:
    """The shipped ones, shortened."""
    shipped = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["training"]
    values = {key: value for key, value in shipped.items() if key in TrainingParams.model_fields}
    return TrainingParams.model_validate(values | SHORT, strict=False)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_short_training_finds_the_phantom_s_vessels(
    phantom: Path, params: TrainingParams, tmp_path: Path, name: str
) -> None:
    """The mean DSC of the stacks of the fold that was not trained on reaches 0.75, and no step is skipped."""
    cell, loss, schedule = plan_cell(phantom, params, name, 0), build_loss(name), plan_schedule(params)
    dataset = PatchDataset(cell.training, params, needs_skeleton=loss.needs_skeleton, keep_in_memory=True)
    part = Part(
        cell=cell,
        runtime=runtime_in(tmp_path, Compute()),
        loss=loss,
        dataset=dataset,
        batch=first_batch(dataset, params),
        interrupt=Interrupt(),
        device=torch.device("cpu"),
        ranks=ALONE,
    )
    state = start_or_resume(part, lambda: None)
    state.network.train()
    for step, batch in enumerate(batches(dataset, params, 0, workers=0)):
        rate, now = schedule.learning_rate(step), loss.at(step / schedule.total_steps)
        assert isinstance(take_step(state, batch, now, rate, params.grad_clip_norm), StepTaken)
    scores = [_dsc(state, volume, params) for volume in cell.validation]
    assert np.mean(scores) >= LEAST_DSC


def _dsc(state: TrainingState, volume: Volume, params: TrainingParams) -> float:
    probability = predict_probability(
        state.network, volume.image(), params.patch_voxels, 0.25, autocast_dtype=state.precision.autocast_dtype
    )
    found, true = probability > 0.5, volume.label() > 0
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))
