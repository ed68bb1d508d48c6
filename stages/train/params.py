"""What training may be told: exactly the keys that dvc.yaml declares for it."""

import enum
from typing import Annotated

from pydantic import Field, field_validator

from stages.common.networks.kernel_rule import KernelRule
from stages.common.params import Params, load_params, validate_params

PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Precision(enum.StrEnum):
    """Which arithmetic a training may use; stages/train/computing/precision.py decides which one it does use."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class AugmentationName(enum.StrEnum):
    """The sets of augmentations by name (stages/train/sampling/augment.py)."""

    STANDARD = "standard"
    NONE = "none"


class SharedParams(Params):
    """What the trainings of all seeds have in common. A warm-up as long as the whole training is cut
    (loop/schedule.py), so a short trial run needs `max_epochs` changed and nothing else.
    """

    max_epochs: PositiveInt
    steps_per_epoch: PositiveInt
    batch_size: PositiveInt
    patch_voxels: tuple[PositiveInt, PositiveInt, PositiveInt]  # z, y, x
    foreground_share: Share  # of the patches, centred on a vessel voxel
    architecture: str  # a name in stages/common/networks/catalogue.py, which refuses others
    filters: tuple[PositiveInt, ...]  # channels per level, from full resolution down
    kernels: KernelRule
    deep_supervision: bool
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    warmup_epochs: Annotated[int, Field(ge=0)]
    grad_clip_norm: Annotated[float, Field(gt=0)]
    precision: Precision
    augmentation: AugmentationName
    validation_interval: PositiveInt  # epochs; the last epoch is always validated

    @field_validator("filters")
    @classmethod
    def _filters_make_a_network(cls, filters: tuple[int, ...]) -> tuple[int, ...]:
        if not 3 <= len(filters) <= 6:
            raise ValueError("needs 3 to 6 entries, one per level of the network")
        if list(filters) != sorted(filters):
            raise ValueError("must not become smaller with depth")
        return filters


class TrainingParams(SharedParams):
    """One training."""

    seed: Annotated[int, Field(ge=0, lt=1 << 63)]  # torch takes 64 bits


class TrainParams(Params):
    """params.yaml as the entry `train` of dvc.yaml sees it."""

    training: TrainingParams


class TrainSeedParams(Params):
    """params.yaml as the entry `train_seed` sees it: its seed is in its command."""

    training: SharedParams


def load_training(seed: int | None) -> TrainingParams:
    """The params of a training from the first seed (None), or from another one. Raises ParamsError."""
    if seed is None:
        return load_params(TrainParams).training
    shared = load_params(TrainSeedParams).training.model_dump(mode="json")
    return validate_params(TrainParams, {"training": {**shared, "seed": seed}}, "--seed").training
