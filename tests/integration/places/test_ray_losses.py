"""A Ray cluster that loses a node with everything on it."""

from pathlib import Path

from tests.support.clusters.places import Head, PlaceProject, ended_heads
from tests.support.clusters.ray_cluster import shared_nodes


def test_all_tasks_end_though_a_node_is_lost(tmp_path: Path) -> None:
    """Three tasks fill three nodes. The one whose node is gone starts again elsewhere, and nothing of it is left.

    Unless it had ended by then: how soon Ray sees a loss is its own affair.
    """
    nodes = shared_nodes()
    projects = [PlaceProject(tmp_path / name, "ray") for name in "abc"]
    with ended_heads() as heads:
        heads += [Head(project, "tell") for project in projects]
        for head in heads:
            head.wait_for("here")
        nodes.lose_one()
        for head in heads:
            head.let_go()
        assert [head.code() for head in heads] == [0, 0, 0], "".join(head.text() for head in heads)
    assert [project.out()["copy"] for project in projects] == ["hello\n"] * 3
    assert sum("retries 1" in head.text() for head in heads) <= 1
    assert [project.leftovers() for project in projects] == [[], [], []]
