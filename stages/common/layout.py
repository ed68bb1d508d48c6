"""Order of a network's numbers in memory: channels first, as torch starts, or last, as convolutions like it.

On a CPU channels last only pays if the normalisation keeps it: torch's instance normalisation copies its input back
and forth. Batch normalisation does not, and that of one patch alone is instance normalisation.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelsLastInstanceNorm3d(nn.InstanceNorm3d):
    """Instance normalisation (Ulyanov et al. 2016) that keeps channels last, for a CPU."""

    def forward(self, input: Tensor) -> Tensor:  # torch's own name
        """(B, C, z, y, x), each patch and channel to mean 0 and variance 1, then scaled and shifted."""
        return torch.cat(
            [
                functional.batch_norm(patch, None, None, self.weight, self.bias, training=True, eps=self.eps)
                for patch in torch.split(input, 1)
            ]
        )


def keeps_channels_last(network: nn.Module) -> bool:
    """Whether every normalisation of `network` has a form that keeps channels last on a CPU."""
    norms = [module for module in network.modules() if "Norm" in type(module).__name__]
    return all(type(norm) is nn.InstanceNorm3d and not norm.track_running_stats for norm in norms)


def copy_channels_last(network: nn.Module) -> nn.Module:
    """A copy of `network`, set up for channels last."""
    candidate = copy.deepcopy(network)
    lay_out_channels_last(candidate)
    return candidate


def lay_out_channels_last(network: nn.Module) -> None:
    """Set `network` up for channels last, in place; its parameters keep their names and values.

    Only the convolutions' weights are reordered: the kernels and what follows them take their order.
    """
    _order_weights(network, torch.channels_last_3d)
    if next(network.parameters()).device.type == "cpu":
        _swap(network, nn.InstanceNorm3d, ChannelsLastInstanceNorm3d)


def lay_out_for_prediction(network: nn.Module, autocast_dtype: torch.dtype | None) -> None:
    """`lay_out_channels_last` where it makes predicting faster: in bf16 on a CPU, by a quarter."""
    is_cpu = next(network.parameters(), torch.empty(0)).device.type == "cpu"
    if is_cpu and autocast_dtype is torch.bfloat16 and keeps_channels_last(network):
        lay_out_channels_last(network)


def lay_out_plainly(network: nn.Module) -> None:
    """Undo `lay_out_channels_last`: torch's own classes and order, as a model is registered."""
    _order_weights(network, torch.contiguous_format)
    _swap(network, ChannelsLastInstanceNorm3d, nn.InstanceNorm3d)


def _order_weights(network: nn.Module, memory_format: torch.memory_format) -> None:
    for parameter in network.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)


def _swap(network: nn.Module, old: type[nn.InstanceNorm3d], new: type[nn.InstanceNorm3d]) -> None:
    for parent in list(network.modules()):
        for name, module in parent.named_children():
            if type(module) is old:
                other = new(module.num_features, eps=module.eps, affine=module.affine)
                other.weight, other.bias = module.weight, module.bias
                parent.add_module(name, other.train(module.training))
