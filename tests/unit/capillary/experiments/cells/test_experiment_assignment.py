"""The choice of the next cell: its order on a few slots, and what it makes of a cluster whose nodes are lost."""

import random

import pytest

from capillary.experiments.assignment import Assignment
from tests.support.clusters.simulated_cluster import Course, Loss, SimulatedCluster

CELLS, NODES, SLOTS_PER_NODE = 10_000, 25, 8
HOUR_S = 3600.0


def run(losses: int, seed: int = 1) -> Course:
    """Ten thousand cells of 5 to 15 minutes on 200 slots; each loss takes a node away for half an hour."""
    draw = random.Random(seed)
    seconds = {f"train@l-{number}": draw.uniform(300, 900) for number in range(CELLS)}
    lost = [Loss(node=draw.randrange(NODES), at_s=draw.uniform(0, 8 * HOUR_S), for_s=HOUR_S / 2) for _ in range(losses)]
    return SimulatedCluster(NODES, SLOTS_PER_NODE, lost).run(seconds)


def test_cells_start_in_their_order_on_slots_that_are_free() -> None:
    """One per slot; a slot is free again when its cell has ended, and nothing starts twice."""
    assignment = Assignment(["a", "b", "c"], ["one", "two"])
    assert list(assignment.next()) == [("a", "one"), ("b", "two")]
    assert list(assignment.next()) == []
    assignment.ended("b")
    assert list(assignment.next()) == [("c", "two")]
    assignment.ended("a")
    assert not assignment.is_done
    assignment.ended("c")
    assert assignment.is_done
    with pytest.raises(KeyError):
        assignment.ended("c")


def test_no_cells_are_done_at_once() -> None:
    """An experiment may have none left."""
    assert Assignment([], ["one"]).is_done


@pytest.mark.parametrize("losses", [0, 60])
def test_slots_are_busy_until_the_end(losses: int) -> None:
    """At least 90 % of the makespan is what the nodes that were there needed for the work alone, also when 60 losses
    threw away what their cells had done so far.
    """
    course = run(losses)
    assert 0.9 <= course.ideal_s / course.makespan_s <= 1
    assert course.most_at_once == NODES * SLOTS_PER_NODE


def test_no_cell_is_lost_and_none_ends_twice() -> None:
    """Each ends once, however often its node was lost under it."""
    course = run(60)
    assert len(course.ends) == CELLS
    assert set(course.ends.values()) == {1}
    assert course.starts.total() > CELLS, "no node was lost under a cell"
