"""The plan from which a network was built, read off its layers: the reverse of the catalogue's builders."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from monai.networks.nets.dynunet import DynUNet
from monai.networks.nets.segresnet import SegResNet
from monai.networks.nets.unet import UNet
from torch import nn

from stages.common.errors import DataError
from stages.common.networks.description import DescribedPlan
from stages.common.networks.plan import NetworkPlan

Axes = tuple[int, ...]
Levels = tuple[list[int], list[Axes], list[Axes]]  # filters, kernels, strides


def plan_of(network: nn.Module, patch_voxels: Any, label: str) -> tuple[str, NetworkPlan]:
    """Architecture and plan of `network`. Raises DataError for one that is not of the catalogue's making.

    What a pickle says of itself may be anything: whether it is true shows when the network is built from it.
    """
    for kind, (name, read) in _READERS.items():
        if type(network) is kind:
            try:
                filters, kernels, strides = read(network)
                read_off = {"filters": filters, "kernels": kernels, "strides": strides, "patch_voxels": patch_voxels}
                plan = DescribedPlan.model_validate_json(json.dumps(read_off))
            except (AttributeError, TypeError, ValueError, LookupError, StopIteration) as error:
                raise _unknown(label, f"{name}: {error}") from error
            return name, NetworkPlan(**dict(plan))
    raise _unknown(label, type(network).__name__)


def _dynunet(network: Any) -> Levels:
    return _ints(network.filters), _axes(network.kernel_size), _axes(network.strides)


def _segresnet(network: Any) -> Levels:
    first = [network.convInit, *(layer[0] for layer in list(network.down_layers)[1:])]
    layers = [_first_convolution(module) for module in first]
    return _ints(each.out_channels for each in layers), *_geometry(layers)


def _unet(network: Any) -> Levels:
    level, kernels = network.model, [_kernel(network.model[2][1])]
    while isinstance(level, nn.Sequential):
        kernels.append(_kernel(level[0]))
        level = level[1].submodule
    kernels.append(_kernel(level))
    return _ints(network.channels), kernels[: len(network.channels)], _axes([(1, 1, 1), *network.strides])


def _geometry(layers: list[nn.Conv3d]) -> tuple[list[Axes], list[Axes]]:
    return [_int_tuple(each.kernel_size) for each in layers], [_int_tuple(each.stride) for each in layers]


def _kernel(module: nn.Module) -> Axes:
    return _int_tuple(_first_convolution(module).kernel_size)


def _first_convolution(module: nn.Module) -> nn.Conv3d:
    return next(part for part in module.modules() if isinstance(part, nn.Conv3d))


def _axes(values: Iterable[Any]) -> list[Axes]:
    return [_int_tuple(value) for value in values]


def _ints(values: Iterable[Any]) -> list[int]:
    return [int(value) for value in values]


def _int_tuple(values: Any) -> Axes:
    return (int(values),) * 3 if isinstance(values, int) else tuple(int(value) for value in values)


_READERS: dict[type[nn.Module], tuple[str, Callable[[Any], Levels]]] = {
    DynUNet: ("dynunet", _dynunet),
    SegResNet: ("segresnet", _segresnet),
    UNet: ("unet", _unet),
}


def _unknown(label: str, value: str) -> DataError:
    return DataError(
        f"{label} is not a network from the catalogue",
        remedy="train it again",
        value=value[:300],
    )
