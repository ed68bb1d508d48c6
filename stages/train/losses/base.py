"""What every loss is: a module over (logits, label, skeleton), working on one foreground logit per voxel in float32."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn


class Loss(nn.Module, ABC):
    """Base of the losses.

    Called as `loss(logits, label, skeleton)`, or `loss(logits, label, skeleton, labelled)`:
    logits (B, 2, z, y, x), channels background and vessel, float32 or a half type under autocast;
    label (B, 1, z, y, x) of {0, 1}, any integer type or bool;
    skeleton (B, 1, z, y, x) of {0, 1}, the centreline of the label's whole volume cropped to the patch;
    labelled (B, 1, z, y, x) of {0, 1}, 0 where nobody labelled: neither value nor gradient depends on what the others
    hold there. Such a voxel is as unknown as what is beyond the patch. None: all are labelled.
    Returns a scalar, float32 (float64 for float64 logits), finite for finite logits.

    A subclass writes `evaluate` and sets `needs_skeleton` when it reads the skeleton; where it does not, the caller may
    pass anything of the label's shape there, the label itself included.
    """

    needs_skeleton: ClassVar[bool] = False

    def forward(self, logits: Tensor, label: Tensor, skeleton: Tensor, labelled: Tensor | None = None) -> Tensor:
        """The loss; raises ValueError when the shapes are not those above."""
        labelled = where_partial(labelled)
        _check_shapes(logits, label, skeleton, labelled)
        # sums over 10^5 voxels lose everything in bf16, and autocast must not undo the cast
        with torch.autocast(logits.device.type, enabled=False):
            logit = foreground_logit(logits)
            if labelled is None:
                return self.evaluate(logit, label, skeleton)
            known = labelled.bool()
            return self.evaluate(torch.where(known, logit, 0), label * known, skeleton * known, known)

    def at(self, progress: float) -> "Loss":  # noqa: ARG002 - most losses are the same throughout
        """The loss to train with when the share `progress` in [0, 1) of the training's steps is done: this one.

        A loss that changes in the course of a training gives another one here. It must follow from `progress` alone:
        then the number of the step, which every checkpoint carries, is all that resuming needs.
        """
        return self

    @abstractmethod
    def evaluate(self, logit: Tensor, label: Tensor, skeleton: Tensor, labelled: Tensor | None = None) -> Tensor:
        """The loss for `logit` (B, 1, z, y, x), the log odds of vessel against background.

        Where not `labelled` (bool; None: everywhere) the three others are 0.
        """


def foreground_logit(logits: Tensor) -> Tensor:
    """Log odds of the vessel: logits (B, 2, z, y, x) → (B, 1, z, y, x), at least float32.

    sigmoid(l₁ − l₀) is the second softmax output exactly, for half the exponentials.
    """
    if logits.dtype != torch.float64:
        logits = logits.float()
    return logits[:, 1:] - logits[:, :1]


def where_partial(labelled: Tensor | None) -> Tensor | None:
    """`labelled` where it leaves a voxel out, else None: a batch that is labelled throughout computes as ever."""
    return None if labelled is None or bool(labelled.all()) else labelled


def vessel_probability(logit: Tensor, labelled: Tensor | None) -> Tensor:
    """The probability of vessel, 0 where not `labelled` (bool)."""
    probability = logit.sigmoid()
    return probability if labelled is None else probability * labelled


def _check_shapes(logits: Tensor, label: Tensor, skeleton: Tensor, labelled: Tensor | None) -> None:
    expected = (logits.shape[0], 1, *logits.shape[2:])
    masks = [label, skeleton] if labelled is None else [label, skeleton, labelled]
    if logits.ndim != 5 or logits.shape[1] != 2 or any(mask.shape != expected for mask in masks):
        raise ValueError(
            "a loss takes logits (B, 2, z, y, x) with label, skeleton and labelled voxels (B, 1, z, y, x); "
            f"got {', '.join(str(tuple(each.shape)) for each in (logits, *masks))}"
        )
