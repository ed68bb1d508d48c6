"""The reference of training.py and quality.py: the loop of MONAI's segmentation tutorials."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from monai.data import CacheDataset, DataLoader
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.metrics import DiceMetric
from monai.networks.utils import one_hot
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
    Transform,
)
from monai.utils import set_determinism
from torch.utils.data import RandomSampler

from stages.common.imaging.volumes import Volume
from stages.train.params import TrainingParams

KEYS = ("image", "label")


@dataclass(kw_only=True)
class PlainLoop:
    """Its own network, and everything that the tutorials set up around it. `epoch` gives an epoch's batches."""

    network: torch.nn.Module
    loader: DataLoader
    validation: DataLoader
    window: tuple[int, int, int]
    loss: DiceCELoss
    optimizer: torch.optim.Optimizer
    device: torch.device
    autocast_dtype: torch.dtype | None

    def epoch(self) -> Iterator[dict[str, torch.Tensor]]:
        """`steps_per_epoch` batches."""
        return iter(self.loader)

    def step(self, batch: dict[str, torch.Tensor], learning_rate: float) -> float:
        """One step; returns the loss, which tutorials print."""
        self.network.train()
        image, label = (batch[key].to(self.device) for key in KEYS)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None):
            logits = self.network(image)
        loss = self.loss(logits.float(), label)
        loss.backward()
        self.optimizer.step()
        return float(loss.item())

    @torch.no_grad()
    def validate(self) -> float:
        """Mean DSC of the validation volumes, as the tutorials take it after every second epoch."""
        self.network.eval()
        metric = DiceMetric(include_background=False, reduction="mean")
        for batch in self.validation:
            image, label = (batch[key].to(self.device) for key in KEYS)
            logits = sliding_window_inference(image, self.window, 4, self.network)
            assert isinstance(logits, torch.Tensor)
            predicted = one_hot(logits.argmax(dim=1, keepdim=True), 2)
            metric(y_pred=predicted, y=one_hot(label, 2))
        mean = metric.aggregate()
        assert isinstance(mean, torch.Tensor)
        return float(mean.item())


def set_up(
    network: torch.nn.Module,
    training: list[Volume],
    validation: list[Volume],
    params: TrainingParams,
    device: torch.device,
    autocast_dtype: torch.dtype | None = None,
) -> PlainLoop:
    """The plain loop on `network`, volumes cached in memory, with as many loader processes as we have.

    In float32, or under autocast as the tutorials on fast training have it.
    """
    set_determinism(params.seed)
    cached = CacheDataset(_files(training), _transforms(params), cache_rate=1.0, num_workers=0, progress=False)
    whole = CacheDataset(_files(validation), Compose(_loading()), cache_rate=1.0, num_workers=0, progress=False)
    draws = params.steps_per_epoch * params.batch_size
    loader = DataLoader(
        cached,
        batch_size=params.batch_size,
        sampler=RandomSampler(cached, replacement=True, num_samples=draws),
        num_workers=4 if device.type == "cuda" else 0,
        pin_memory=device.type == "cuda",
    )
    return PlainLoop(
        network=network.to(device),
        loader=loader,
        validation=DataLoader(whole, batch_size=1),
        window=params.patch_voxels,
        loss=DiceCELoss(to_onehot_y=True, softmax=True),
        optimizer=torch.optim.AdamW(network.parameters(), weight_decay=params.weight_decay),
        device=device,
        autocast_dtype=autocast_dtype,
    )


def _files(volumes: list[Volume]) -> list[dict[str, str]]:
    return [{key: str(volume.folder / f"{key}.npy") for key in KEYS} for volume in volumes]


def _loading() -> list[Transform]:
    return [
        LoadImaged(keys=KEYS, reader="NumpyReader"),
        EnsureChannelFirstd(keys=KEYS, channel_dim="no_channel"),
    ]


def _transforms(params: TrainingParams) -> Compose:
    share = params.foreground_share
    return Compose(
        [
            *_loading(),
            SpatialPadd(keys=KEYS, spatial_size=params.patch_voxels),
            RandCropByPosNegLabeld(
                keys=KEYS, label_key="label", spatial_size=params.patch_voxels, pos=share, neg=1 - share, num_samples=1
            ),
            *[RandFlipd(keys=KEYS, prob=0.5, spatial_axis=axis) for axis in range(3)],
            RandRotate90d(keys=KEYS, prob=0.5, spatial_axes=(1, 2)),
            RandScaleIntensityd(keys="image", factors=0.3, prob=0.3),
            RandShiftIntensityd(keys="image", offsets=0.1, prob=0.3),
        ]
    )
