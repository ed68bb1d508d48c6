"""The one place that unpickles, and the classes that it admits: those of which the catalogue's networks consist.

torch's own restricted unpickler does it (torch.load with weights_only). It knows tensors and plain containers; a class
that is not in the list below, or any function, ends it before anything is called.
"""

import pickle
from pathlib import Path

import torch
from monai.networks.blocks.acti_norm import ADN
from monai.networks.blocks.convolutions import Convolution, ResidualUnit
from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetOutBlock, UnetResBlock, UnetUpBlock
from monai.networks.blocks.segresnet_block import ResBlock
from monai.networks.blocks.upsample import UpSample
from monai.networks.layers.simplelayers import SkipConnection
from monai.networks.nets.dynunet import DynUNet, DynUNetSkipLayer
from monai.networks.nets.segresnet import SegResNet
from monai.networks.nets.unet import UNet
from monai.utils.enums import UpsampleMode
from torch import nn

from stages.common.errors import DataError

ADMITTED: tuple[type, ...] = (
    *(DynUNet, DynUNetSkipLayer, UnetBasicBlock, UnetOutBlock, UnetResBlock, UnetUpBlock),
    *(SegResNet, ResBlock, UpSample, UpsampleMode, UNet, SkipConnection, ADN, Convolution, ResidualUnit),
    *(nn.Conv3d, nn.ConvTranspose3d, nn.Dropout, nn.GroupNorm, nn.Identity, nn.InstanceNorm3d, nn.LeakyReLU),
    *(nn.ModuleList, nn.PReLU, nn.ReLU, nn.Sequential, nn.Upsample),
)


def unpickle(file: Path, label: str) -> nn.Module:
    """The network in `file`, on the CPU. Raises DataError when it names any other class, or is no such file."""
    try:
        with torch.serialization.safe_globals(list(ADMITTED)):
            found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the pickle of {label} is not read: it contains something that is not part of any network in the "
            f"catalogue",
            remedy="train it again; if its architecture is your own, only a new training can register it again",
            value=str(error).splitlines()[0][:300] if str(error) else type(error).__name__,
        ) from error
    if not isinstance(found, nn.Module):
        raise DataError(f"the pickle of {label} holds no network", remedy="train it again", value=type(found).__name__)
    return found
