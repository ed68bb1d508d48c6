"""Sliding-window prediction: overlapping patches, blended with Gaussian weights (Isensee et al. 2021, nnU-Net)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from numpy.typing import NDArray

SIGMA_SCALE = 0.125  # standard deviation of the weights, as a share of the patch


def predict_probability(
    model: torch.nn.Module,
    image_zyx: NDArray[np.float32],
    patch_voxels: Sequence[int],
    overlap: float,
    batch_size: int = 2,
    autocast_dtype: torch.dtype | None = None,
) -> NDArray[np.float32]:
    """Foreground probability, float32 in [0, 1], of the shape of `image_zyx`.

    `model` maps (B, 1, z, y, x) to two channels of logits (B, 2, z, y, x), background and vessel. It runs in eval mode,
    where a network under deep supervision has one head, on its own device, and comes back in the mode it was in. A
    volume smaller than `patch_voxels` (z, y, x) is padded by repeating its border, and cropped back. Neighbouring
    patches share `overlap` (0 to below 1) of their length. Whole volumes exist three times at most (image, sum of
    weighted probabilities, sum of weights), in float32 and in host memory.
    """
    device = next(model.parameters(), torch.empty(0)).device
    # a copy: the caller's array may be memory-mapped and read-only
    image = torch.from_numpy(np.array(image_zyx, dtype=np.float32))[None, None]

    def predict(patches: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
            logits = model(patches)
        # softmax over two channels; float32 before the difference, where bf16 would lose what is left of it
        return torch.sigmoid(logits[:, 1:2].float() - logits[:, 0:1].float())

    with torch.inference_mode(), _evaluating(model):
        probability = sliding_window_inference(
            image,
            roi_size=tuple(patch_voxels),
            sw_batch_size=batch_size,
            predictor=predict,
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


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode within the block, the former mode of each module (parts may be frozen) after it."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
