"""From a description to its network: built without memory, compared with its weights' file, filled, in eval mode."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from stages.common.errors import DataError
from stages.common.networks.catalogue import ARCHITECTURES
from stages.common.networks.description import ModelDescription
from stages.common.networks.weights import fill, largest_file
from stages.common.params import nearest


class _NothingDrawn(TorchFunctionMode):
    """Leaves tensors as they are where they would be filled from a normal distribution.

    On the meta device they hold no values, and torch imports its compiler (three CPU seconds) to draw none.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.Tensor.normal_:
            return args[0]
        return func(*args, **(kwargs or {}))


def outline(description: ModelDescription, origin: str) -> torch.nn.Module:
    """The described network on the meta device: names and shapes of its tensors, and no memory for them.

    Raises DataError for an architecture that is not in the catalogue.
    """
    name = description.architecture
    if name not in ARCHITECTURES:
        raise DataError(
            f"a model has the architecture `{name}`, which this capillary lacks; {nearest(name, list(ARCHITECTURES))}",
            remedy="add its file and its line to stages/common/networks (docs/adding-a-model.md), or train again",
            file=origin,
            value=name,
        )
    with torch.device("meta"), _NothingDrawn():
        return ARCHITECTURES[name].build(description.network_plan()).eval()


def refuse_size(network: torch.nn.Module, size: int, origin: str) -> None:
    """Raise DataError when a file of `size` bytes is too large for the weights of `network`."""
    most = largest_file(network)
    if size > most:
        raise DataError(
            "the weights of a model are larger than its description allows",
            remedy="train it again",
            file=origin,
            value=f"{size:,} bytes, at most {most:,}",
        )


def load_network(description: ModelDescription, weights: bytes, origin: str) -> torch.nn.Module:
    """The described network with `weights`, a safetensors file's content, on the CPU, in eval mode.

    Raises DataError, naming `origin`, when they do not belong together.
    """
    network = outline(description, origin)
    refuse_size(network, len(weights), origin)
    fill(network, weights, description.ties, origin)
    return network
