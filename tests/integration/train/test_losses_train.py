"""Losses by what they are for: training a network that finds vessels in stacks it has not seen.

Every loss does so on tiny volumes in tests/unit/stages/train/loop/test_losses_learn.py.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.common.imaging.volumes import Volume
from stages.common.inference import predict_probability
from stages.train.loop.schedule import plan_schedule
from stages.train.loop.state import TrainingState
from stages.train.loop.step import StepTaken, take_step
from stages.train.losses import LOSSES
from stages.train.part import RankSetup, start_or_resume
from stages.train.sampling.loading import batches
from tests.integration.train.phantom_training import plan_training, prepare_phantom, shipped_params
from tests.support.chaos import BY_HAND

LEAST_DSC = 0.75
# a small network and few steps: seconds per loss instead of minutes
SHORT: dict[str, object] = {
    "max_epochs": 8,
    "steps_per_epoch": 20,
    "warmup_epochs": 1,
    "filters": [4, 8, 16],
    "patch_voxels": [8, 40, 40],
    "learning_rate": 0.03,
}
# without cross-entropy, and with a premium on too much vessel, a training is slower to get there
LONGER: dict[str, dict[str, object]] = {"cldice": {"max_epochs": 12}, "skeleton_recall": {"max_epochs": 11}}


# with the centrelines that preprocess has found; the shipped loss, overlap alone, does so end to end
USUAL = ("skeleton_recall",)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/processed of samples/phantom."""
    return prepare_phantom(tmp_path_factory.mktemp("phantom"))


@pytest.mark.parametrize("name", list(LOSSES) if BY_HAND else USUAL)
def test_a_short_training_finds_the_phantom_s_vessels(phantom: Path, tmp_path: Path, name: str) -> None:
    """The mean DSC of the stacks of the fold that was not trained on reaches 0.75, and no step is skipped."""
    params = shipped_params(**SHORT | LONGER.get(name, {}))
    part = plan_training(phantom, tmp_path, params, name, torch.device("cpu"))
    state = start_or_resume(part, lambda: None)
    _train(part, state)
    assert np.mean([_dsc(part, state, volume) for volume in part.cell.validation]) >= LEAST_DSC


def _train(part: RankSetup, state: TrainingState) -> None:
    """What the loop does in its steps, from the first to the last."""
    params, schedule = part.cell.params, plan_schedule(part.cell.params)
    state.network.train()
    for step, batch in enumerate(batches(part.dataset, params, 0, workers=0)):
        loss = part.loss.at(step / schedule.total_steps)
        result = take_step(state, batch, loss, schedule.learning_rate(step), params.grad_clip_norm)
        assert isinstance(result, StepTaken)


def _dsc(part: RankSetup, state: TrainingState, volume: Volume) -> float:
    probability = predict_probability(
        state.network,
        volume.image(),
        part.cell.params.patch_voxels,
        overlap=0.25,
        autocast_dtype=state.precision.autocast_dtype,
    )
    found, true = probability > 0.5, volume.label() > 0
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))
