"""The learning rate as a function of the step: linear warm-up, then half a cosine down to zero.

A function has no state: the number of the step, which every checkpoint carries, is all that resuming needs
(Loshchilov and Hutter 2017, SGDR, without restarts).
"""

import math
from dataclasses import dataclass

from stages.train.params import TrainingParams


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Steps are counted from 0 over the whole training."""

    peak: float
    warmup_steps: int
    total_steps: int

    def learning_rate(self, step: int) -> float:
        """Rises to `peak` at the last step of the warm-up and nears 0 at the last step of the training; never 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        share_done = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return self.peak * 0.5 * (1 + math.cos(math.pi * share_done))


def plan_schedule(params: TrainingParams) -> Schedule:
    """The schedule of a training. A warm-up longer than half of the training is cut to that half."""
    total_steps = params.max_epochs * params.steps_per_epoch
    return Schedule(
        peak=params.learning_rate,
        warmup_steps=min(params.warmup_epochs * params.steps_per_epoch, total_steps // 2),
        total_steps=total_steps,
    )
