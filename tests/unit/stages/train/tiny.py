"""Tiny processed volumes and params on which a training takes seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.common.imaging.recipe import write_recipe
from stages.common.imaging.volumes import Checksums, Volume, write_manifest
from stages.common.runtime import Compute, Runtime
from stages.common.splits import Fold, write_splits
from stages.train.params import TrainingParams
from stages.train.sampling.loading import Batch
from tests.support.models.recipe import RECIPE

PARAMS: dict[str, Any] = {
    "seed": 7,
    "max_epochs": 2,
    "steps_per_epoch": 3,
    "batch_size": 2,
    "patch_voxels": [4, 16, 16],
    "foreground_share": 0.5,
    "architecture": "dynunet",
    "filters": [2, 4, 4],
    "kernels": "auto",
    "deep_supervision": True,
    "learning_rate": 0.01,
    "weight_decay": 0.00003,
    "warmup_epochs": 0,
    "grad_clip_norm": 12.0,
    "precision": "fp32",
    "augmentation": "standard",
    "validation_interval": 2,
}


def tiny_params(**changes: object) -> TrainingParams:
    """PARAMS with `changes`."""
    return TrainingParams.model_validate({**PARAMS, **changes}, strict=False)


def runtime_in(state_dir: Path, compute: Compute) -> Runtime:
    """A run of the stage by hand, with one thread."""
    # it imports MLflow, which the two processes of distributed/start.py do not need
    from tests.support.tracking.tracked import embedded_runtime

    return embedded_runtime(state_dir, artifact_root=None, compute=compute)


def write_volumes(processed: Path, shapes: tuple[tuple[int, int, int], ...] = ((6, 24, 24),) * 3) -> list[Volume]:
    """One volume a shape, each with a bright straight tube in noise, and one fold a volume, each validated once."""
    volumes = []
    for number, shape in enumerate(shapes):
        rng = np.random.default_rng(number)
        label = np.zeros(shape, np.uint8)
        row = int(rng.integers(4, shape[1] - 4))
        label[:, row - 2 : row + 3, :] = 1
        skeleton = np.zeros(shape, np.uint8)
        skeleton[shape[0] // 2, row, :] = 1
        image = (0.6 * label + rng.normal(0.2, 0.1, shape)).astype(np.float32)
        folder = processed / f"volume_{number}"
        folder.mkdir(parents=True)
        for name, array in (("image", image), ("label", label), ("skeleton", skeleton)):
            np.save(folder / f"{name}.npy", array)
        volumes.append(
            Volume(
                id=folder.name,
                group=folder.name,
                shape_zyx=shape,
                spacing_um=(2.0, 1.0, 1.0),
                foreground_share=float(label.mean()),
                fold=number,
                folder=folder,
            )
        )
    write_manifest(processed, [(volume, Checksums(image="", label="", skeleton="")) for volume in volumes])
    ids = [volume.id for volume in volumes]
    write_recipe(processed, RECIPE)
    write_splits(processed, [Fold(train=tuple(name for name in ids if name != val), val=(val,)) for val in ids])
    return volumes


def random_batch(shape_zyx: tuple[int, int, int], size: int = 2, seed: int = 0) -> Batch:
    """Noise with a fifth of the voxels labelled."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(size, 1, *shape_zyx, generator=generator)
    label = (image > 0.8).to(torch.uint8)
    return Batch(image=image, label=label, skeleton=label, ids=["noise"] * size)
