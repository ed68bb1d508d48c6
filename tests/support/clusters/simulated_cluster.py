"""A cluster in virtual time: nodes with slots that are lost and come back, and cells that only take time.

It stands in for everything around the choice of the next cell (capillary/experiments/assignment.py): the heads that
hold a slot, and a place that starts the cells of a lost node again elsewhere. Ten thousand cells take a second.
"""

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from capillary.experiments.assignment import Assignment


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Node number `node` is lost at `at_s` and comes back after `for_s`."""

    node: int
    at_s: float
    for_s: float


@dataclass(frozen=True, kw_only=True)
class Course:
    """What happened. `starts` and `ends` count how often each cell was started and came to its end."""

    makespan_s: float
    ideal_s: float
    starts: Counter[str]
    ends: Counter[str]
    most_at_once: int


class SimulatedCluster:
    """`nodes` × `slots_per_node` cells at once. A cell of a lost node begins again, in the place's own queue."""

    def __init__(self, nodes: int, slots_per_node: int, losses: Sequence[Loss]) -> None:
        self._slots = nodes * slots_per_node
        self._size = slots_per_node
        self._free = deque(number for number in range(nodes) for _ in range(slots_per_node))
        self._down: set[int] = set()
        self._queue: deque[str] = deque()
        self._on: dict[str, tuple[int, int]] = {}  # cell → (its node, number of its start)
        self._starts: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()
        self._most = 0
        self._tie = itertools.count()
        self._events: list[tuple[float, int, str, object]] = []
        for loss in losses:
            self._at(loss.at_s, "lost", loss.node)
            self._at(loss.at_s + loss.for_s, "back", loss.node)

    def run(self, seconds: Mapping[str, float]) -> Course:
        """Run all cells, each of which takes its `seconds`."""
        assignment = Assignment(list(seconds), range(self._slots))
        now_s, capacity_s, ideal_s, work_s = 0.0, 0.0, None, sum(seconds.values())
        self._submit(assignment, seconds, now_s)
        while not assignment.is_done:
            at_s, _, kind, what = heapq.heappop(self._events)
            more_s = (at_s - now_s) * (self._slots - self._size * len(self._down))
            if ideal_s is None and capacity_s + more_s >= work_s:
                ideal_s = now_s + (work_s - capacity_s) / more_s * (at_s - now_s)
            now_s, capacity_s = at_s, capacity_s + more_s
            self._happen(kind, what, assignment)
            self._submit(assignment, seconds, now_s)
        assert ideal_s is not None, "cells ended sooner than they can"
        return Course(makespan_s=now_s, ideal_s=ideal_s, starts=self._starts, ends=self._ends, most_at_once=self._most)

    def _happen(self, kind: str, what: object, assignment: Assignment[int]) -> None:
        if kind == "ended":
            cell, start = what  # type: ignore[misc]  # as _start has written it
            if cell in self._on and self._on[cell][1] == start:
                self._free.append(self._on.pop(cell)[0])
                self._ends[cell] += 1
                assignment.ended(cell)
        elif kind == "lost":
            self._down.add(what)  # type: ignore[arg-type]
            self._free = deque(node for node in self._free if node != what)
            for cell in [cell for cell, (node, _) in self._on.items() if node == what]:
                del self._on[cell]
                self._queue.append(cell)
        elif what in self._down:
            self._down.discard(what)  # type: ignore[arg-type]
            self._free.extend([what] * self._size)  # type: ignore[list-item]

    def _submit(self, assignment: Assignment[int], seconds: Mapping[str, float], now_s: float) -> None:
        self._queue.extend(cell for cell, _ in assignment.next())
        while self._queue and self._free:
            cell, node = self._queue.popleft(), self._free.popleft()
            assert cell not in self._on, f"{cell} runs twice at once"
            self._starts[cell] += 1
            self._on[cell] = (node, self._starts[cell])
            self._most = max(self._most, len(self._on))
            self._at(now_s + seconds[cell], "ended", (cell, self._starts[cell]))

    def _at(self, when_s: float, kind: str, what: object) -> None:
        heapq.heappush(self._events, (when_s, next(self._tie), kind, what))
