"""Checkpoints written in the background of the training: it waits for a copy of its state, not for the disk."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

import torch

from stages.train.resuming.checkpoint import Checkpoints


class Saver(Protocol):
    """What the training loop needs of checkpoints."""

    def save(self, state: dict[str, Any]) -> None:
        """Take `state` as the next checkpoint."""

    def wait(self) -> None:
        """Return when what was taken is on the disk; raise what went wrong with it."""


class BackgroundCheckpoints:
    """`checkpoints`, written by a thread, one at a time: a checkpoint that comes early waits for the one before.

    A write that failed is raised by the next call, at the latest at the end of the `with` block.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    def save(self, state: dict[str, Any]) -> None:
        """Copy `state` (tensors and plain values) now, write it later; the training may then change it."""
        self.wait()
        self._writing = self._writer.submit(self._checkpoints.save, copied(state))

    def wait(self) -> None:
        """Return when the last checkpoint is on the disk; raise what went wrong with it."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()


class NoCheckpoints:
    """For a process of a training whose checkpoints another one writes."""

    def save(self, state: dict[str, Any]) -> None:
        """Nothing."""

    def wait(self) -> None:
        """Nothing."""


def copied(value: Any) -> Any:
    """`value` with every tensor in it copied to the CPU; a tensor that occurs under two names is copied once."""
    return _copied(value, {})


def _copied(value: Any, known: dict[tuple[object, ...], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        key = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if key not in known:
            known[key] = value.detach().to("cpu", copy=True)
        return known[key]
    if isinstance(value, dict):
        return {name: _copied(item, known) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item, known) for item in value)
    return value
