"""The search for the largest micro-batch, with memory that ends where the test says."""

from functools import partial

import pytest
import torch

from stages.common.errors import CapillaryError, ExitCode
from stages.train.computing.microbatch import largest_micro_batch, try_step
from stages.train.losses import build_loss
from tests.unit.stages.train.tiny import random_batch

LOSS = build_loss("dice_ce")


class _Limited(torch.nn.Module):
    """A network that raises what torch raises on a GPU when more than `most` patches come at a time with a graph."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.seen: list[int] = []
        self.convolution = torch.nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            self.seen.append(len(image))
            if len(image) > self._most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        logits: torch.Tensor = self.convolution(image)
        return logits


@pytest.mark.parametrize(
    ("batch_size", "most", "found"),
    [(8, 8, 8), (8, 100, 8), (8, 7, 4), (8, 4, 4), (8, 3, 2), (8, 1, 1), (7, 4, 4), (7, 3, 2), (2, 1, 1), (1, 1, 1)],
)
def test_the_batch_is_halved_until_it_fits(batch_size: int, most: int, found: int) -> None:
    """A real step is tried at each size; nothing of it stays."""
    network = _Limited(most)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    batch = random_batch((2, 8, 8), size=batch_size)
    assert largest_micro_batch(partial(try_step, network, batch, LOSS, None), batch_size) == found
    assert max(network.seen[-1:]) <= most
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_patch_that_does_not_fit_is_an_error_before_the_training() -> None:
    """With what can be made smaller."""
    attempt = partial(try_step, _Limited(0), random_batch((2, 8, 8), size=4), LOSS, None)
    with pytest.raises(CapillaryError, match="one patch does not fit") as caught:
        largest_micro_batch(attempt, 4)
    assert caught.value.code is ExitCode.MACHINE
    assert "patch_voxels" in caught.value.remedy


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    """A defect is not hidden by smaller batches."""

    def attempt(_size: int) -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape"):
        largest_micro_batch(attempt, 4)
