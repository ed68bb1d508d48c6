"""Training losses: one file per loss, all built by name."""

from stages.train.losses.base import Loss
from stages.train.losses.catalogue import LOSSES, build_loss

__all__ = ["LOSSES", "Loss", "build_loss"]
