"""The gradient of a batch's loss, with as many patches in the network at a time as memory allows.

A loss of this house is not a mean over patches (batch Dice divides sums over the batch), so gradients of parts cannot
be averaged. Instead the logits of the whole batch, of every head, are computed part by part without a graph, the loss
of all of them gives the gradient for the logits, and each part goes through the network again to take its share back
(gradient caching, Gao et al. 2021, arXiv:2101.06983). That is exact for any loss and for networks whose patches do not
see each other (ours normalise by instance), and costs one forward pass more: a third of a step.

Several processes share a batch in the same way, without that cost: each computes the logits of its patches, all of them
the loss of all logits, each takes its share of the gradient back through its network, and the sums are exchanged.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from stages.common.networks.supervision import heads_of
from stages.train.computing.precision import LossFunction
from stages.train.distributed.ranks import ALONE, Ranks
from stages.train.losses.heads import loss_of_heads
from stages.train.sampling.loading import Batch


def add_gradients(
    network: torch.nn.Module,
    batch: Batch,
    loss_function: LossFunction,
    *,
    autocast_dtype: torch.dtype | None = None,
    micro_batch: int | None = None,
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
    ranks: Ranks = ALONE,
) -> float:
    """Add the gradient of the scaled loss of `batch` to the parameters; returns the loss itself.

    At most `micro_batch` patches keep their activations at a time, None: all. Nothing is added when the loss is not
    finite. On several `ranks` each has its share of the batch, and all get the gradient of the whole one.
    """

    def forward(image: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(image.device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
            output = network(image)
        return heads_of(output)

    in_one = micro_batch is None or micro_batch >= len(batch.image)
    if in_one and ranks.size == 1:
        loss = loss_of_heads(loss_function, forward(batch.image), batch.label, batch.skeleton, batch.labelled)
        value = loss.item()
        if math.isfinite(value):
            torch.autograd.backward(scale(loss))
        return value

    parts = torch.split(batch.image, micro_batch or len(batch.image))
    with torch.set_grad_enabled(in_one):  # where one part is all, its graph serves again
        outputs = [forward(part) for part in parts]
    heads = [ranks.gather(torch.cat(head).detach()).requires_grad_() for head in zip(*outputs, strict=True)]
    labelled = None if batch.labelled is None else ranks.gather(batch.labelled)
    loss = loss_of_heads(loss_function, heads, ranks.gather(batch.label), ranks.gather(batch.skeleton), labelled)
    value = ranks.once(loss.item)
    if math.isfinite(value):
        gradients = torch.autograd.grad(scale(loss), heads)
        upstream = [torch.split(gradient[ranks.share()], len(parts[0])) for gradient in gradients]
        for part, output, *shares in zip(parts, outputs, *upstream, strict=True):
            torch.autograd.backward(output if in_one else forward(part), shares)
        ranks.add_up(parameter.grad for parameter in network.parameters() if parameter.grad is not None)
    return value
