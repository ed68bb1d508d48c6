"""Which cell runs next, and on which slot: the choice alone, so that it can be looked at without running anything."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

Slot = TypeVar("Slot")


class Assignment(Generic[Slot]):
    """Cells in their order on slots that are free. A cell runs once, and a slot has one cell at a time."""

    def __init__(self, cells: Sequence[str], slots: Sequence[Slot]) -> None:
        self._waiting = deque(cells)
        self._free = deque(slots)
        self._running: dict[str, Slot] = {}

    @property
    def is_done(self) -> bool:
        """Whether every cell has ended."""
        return not self._waiting and not self._running

    def next(self) -> Iterator[tuple[str, Slot]]:
        """The cells that can start now, each with its slot; they count as running from then on."""
        while self._waiting and self._free:
            cell, slot = self._waiting.popleft(), self._free.popleft()
            self._running[cell] = slot
            yield cell, slot

    def ended(self, cell: str) -> None:
        """`cell` has ended, well or not: its slot is free."""
        self._free.append(self._running.pop(cell))
