"""The processes of one training: which patches are whose, and what they tell each other.

Every process (rank) computes its share of every batch. Rank 0 leads: it alone reads and writes checkpoints, talks to
MLflow and to the user. Tensors on a GPU go through NCCL, all else through gloo,
which notices at once when another process is gone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Process number `rank` of `size`; a whole batch has `batch_size` patches (not read where there is one process).

    Every method that talks to the others must be called by all of them, in the same order.
    """

    rank: int
    size: int
    batch_size: int
    local: int = 0  # the number of this process on its node

    @property
    def leads(self) -> bool:
        """Whether this process is rank 0."""
        return self.rank == 0

    def share(self) -> slice:
        """The patches of every batch that are this rank's."""
        return slice(None) if self.size == 1 else _share(self.rank, self.size, self.batch_size)

    def once(self, make: Callable[[], Value]) -> Value:
        """What `make` gives on rank 0, which alone calls it, on every rank."""
        if self.size == 1:
            return make()
        box: list[Value | None] = [make() if self.leads else None]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        (value,) = box
        return value  # type: ignore[return-value]  # rank 0 made it

    def any_asks(self, flag: bool) -> bool:
        """Whether `flag` is set on any rank: ranks on other nodes are asked to stop by their own node."""
        if self.size == 1:
            return flag
        asked = torch.tensor([int(flag)])
        distributed.all_reduce(asked, op=distributed.ReduceOp.MAX)
        return bool(asked.item())

    def first(self, value: Value | None) -> Value:
        """The `value` of the first rank that has one; at least one must."""
        values = [value]
        if self.size > 1:
            values = [None] * self.size
            distributed.all_gather_object(values, value)
        return next(each for each in values if each is not None)

    def gather(self, rows: Tensor) -> Tensor:
        """The whole batch, in its order, from this rank's share `rows` (share, …); no gradient passes."""
        if self.size == 1:
            return rows
        counts = [len(range(self.batch_size)[_share(rank, self.size, self.batch_size)]) for rank in range(self.size)]
        # collectives take equal sizes only: the shorter shares are filled up, and cut again
        filled = torch.cat([rows, rows.new_zeros(max(counts) - len(rows), *rows.shape[1:])])
        parts = [torch.empty_like(filled) for _ in counts]
        distributed.all_gather(parts, filled)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def gather_names(self, names: list[str]) -> list[str]:
        """The names of the whole batch's patches."""
        if self.size == 1:
            return names
        parts: list[list[str]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(parts, names)
        return [name for part in parts for name in part]

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each of `tensors` (one type, one device) by its sum over the ranks; the same bits on each.

        One transfer in one layout for every step. DistributedDataParallel regroups its transfers after the first step
        of a process, so a resumed training of three and more processes would add in another order.
        """
        if self.size == 1:
            return
        own = list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in own])
        distributed.all_reduce(flat)
        for tensor, total in zip(own, torch.split(flat, [tensor.numel() for tensor in own]), strict=True):
            tensor.copy_(total.view_as(tensor))


ALONE = Ranks(rank=0, size=1, batch_size=0)


def _share(rank: int, size: int, batch_size: int) -> slice:
    """Contiguous shares in the order of the ranks, as equal as they can be; none is empty while size ≤ batch_size.

    None is larger than rank 0's, which decides for all how many patches go through the network at a time.
    """
    start, stop = (-(-batch_size * turn // size) for turn in (rank, rank + 1))  # rounded up
    return slice(start, stop)
