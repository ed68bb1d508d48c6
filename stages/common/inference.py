"""Sliding-window prediction: overlapping patches, blended with Gaussian weights (Isensee et al. 2021, nnU-Net)."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from stages.common.networks.monai_parts import sliding_window_inference

BATCH_SIZE = 2  # patches that go through the network at a time, where the profile says nothing
# by the precision of a description or card
AUTOCAST: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
SIGMA_SCALE = 0.125  # standard deviation of the weights, as a share of the patch

Flips = Literal["none", "in_plane", "all"]
# axes of (B, channel, z, y, x) that are mirrored, in every combination
_FLIPPED_AXES: dict[Flips, tuple[int, ...]] = {"none": (), "in_plane": (3, 4), "all": (2, 3, 4)}


def predict_probability(
    model: torch.nn.Module,
    image_zyx: NDArray[np.float32],
    patch_voxels: Sequence[int],
    overlap: float,
    batch_size: int = BATCH_SIZE,
    autocast_dtype: torch.dtype | None = None,
    flips: Flips = "none",
) -> NDArray[np.float32]:
    """Foreground probability, float32 in [0, 1], of the shape of `image_zyx`.

    `model` maps (B, 1, z, y, x) to two channels of logits (B, 2, z, y, x), background and vessel. It runs in eval mode,
    where a network under deep supervision has one head, on its own device, and comes back in the mode it was in. A
    volume smaller than `patch_voxels` (z, y, x) is padded by repeating its border, and cropped back. Neighbouring
    patches share `overlap` (0 to below 1) of their length. `flips` predicts every patch mirrored, too, and takes the
    mean. Whole volumes exist three times at most (image, sum of weighted probabilities, sum of weights), in float32 and
    in host memory.
    """
    device = device_of(model)
    # a copy: the caller's array may be memory-mapped and read-only
    image = torch.from_numpy(np.array(image_zyx, dtype=np.float32))[None, None]

    with torch.inference_mode(), evaluating(model):
        probability = sliding_window_inference(
            image,
            roi_size=tuple(patch_voxels),
            sw_batch_size=batch_size,
            predictor=lambda patches: patch_probability(model, patches, autocast_dtype, flips),
            overlap=overlap,
            mode="gaussian",
            sigma_scale=SIGMA_SCALE,
            padding_mode="replicate",
            sw_device=device,
            device="cpu",
        )
    assert isinstance(probability, torch.Tensor)
    result: NDArray[np.float32] = np.ascontiguousarray(probability[0, 0].numpy())
    return np.clip(result, 0, 1, out=result)  # the division by the weights may leave 1 + 1e-7


def device_of(model: torch.nn.Module) -> torch.device:
    """Where `model` computes."""
    return next(model.parameters(), torch.empty(0)).device


def patch_probability(
    model: torch.nn.Module, patches: torch.Tensor, autocast_dtype: torch.dtype | None, flips: Flips
) -> torch.Tensor:
    """Foreground probability (B, 1, z, y, x) of `patches` of that shape, float32: the mean over the mirrored ones.

    `model` is in eval mode, the patches are on its device.
    """
    axes = _FLIPPED_AXES[flips]
    mirrored = [some for count in range(len(axes) + 1) for some in itertools.combinations(axes, count)]
    total = torch.zeros_like(patches)
    for flipped in mirrored:
        with torch.autocast(patches.device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
            logits = model(patches.flip(flipped) if flipped else patches)
        # softmax over two channels; float32 before the difference, where bf16 would lose what is left of it
        probability = torch.sigmoid(logits[:, 1:2].float() - logits[:, 0:1].float())
        total += probability.flip(flipped) if flipped else probability
    return total / len(mirrored)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode within the block, the previous mode of each module (parts may be frozen) after it."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
