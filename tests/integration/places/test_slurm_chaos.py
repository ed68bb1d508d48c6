"""Three cells on a real cluster, and one fault at a random moment: all end, each step is trained once, nothing is left.

By hand (./just test-chaos), since a round takes up to some minutes. The seed of a round is in its name.
"""

import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from capillary.places.job import job_folder
from capillary.places.outcome import attempts
from capillary.places.slurm import queue
from capillary.places.slurm.submitted import read_submitted
from tests.support.chaos import rounds
from tests.support.clusters.leftovers import KEPT
from tests.support.clusters.places import PROFILE, Head, PlaceProject, ended_heads, until
from tests.support.clusters.slurm import cluster, power_cut, power_on, without_controller

SEEDS = range(rounds(0, by_hand=3))
STEPS, STEP_S = 60, 0.25
# a Python whose folder for temporary files has no space on the first node that takes a job
CRAMPED = """#!/bin/sh
mkdir '{folder}' 2>/dev/null && echo "$SLURMD_NODENAME" > '{folder}/node'
until [ -s '{folder}/node' ]; do sleep 0.1; done
[ "$(cat '{folder}/node')" = "$SLURMD_NODENAME" ] || exec '{python}' "$@"
mkdir -p '{folder}/scratch'
export TMPDIR='{folder}/scratch'
exec unshare --mount sh -c 'mount -t tmpfs -o size=1m none "$TMPDIR" && exec "$@"' sh '{python}' "$@"
"""


class Cells:
    """Three projects of one cell each, so that their outs do not meet, and their heads."""

    def __init__(self, folder: Path, heads: list[Head]) -> None:
        self.projects = [PlaceProject(folder / name, "slurm") for name in "abc"]
        self._heads = heads
        self.steps = STEPS

    def configure(self, **profile: object) -> None:
        """What their jobs ask for."""
        config = {"max_jobs": 3, "stages": {"toy": "small"}, "profiles": {"small": {**PROFILE, **profile}}}
        for project in self.projects:
            (project.root / "configs/slurm.yaml").write_text(yaml.safe_dump(config))

    def start(self, project: PlaceProject) -> Head:
        """A head of the project's cell."""
        head = Head(project, "work", TOY_STEPS=str(self.steps), CAPILLARY_GRACE_S="20")
        self._heads.append(head)
        return head

    def start_all(self) -> list[Head]:
        """A head per cell, each of which has a node."""
        heads = [self.start(project) for project in self.projects]
        for head in heads:
            head.wait_for("here")
        return heads

    def check(self, heads: list[Head], repeated: int = 0) -> None:
        """All cells are complete, none was trained twice but for `repeated` steps, and nothing is left."""
        assert [head.code() for head in heads] == [0, 0, 0], "\n".join(head.text() for head in heads)
        twice = 0
        for project in self.projects:
            out = project.out()
            steps = [int(step) for step in out["steps"].split()]
            assert sorted(set(steps)) == list(range(self.steps)), project.root
            assert out["ends"] == "end\n", project.root
            twice += len(steps) - self.steps
        assert twice <= repeated, f"{twice} steps were trained twice"
        for project in self.projects:
            assert until(lambda: project.leftovers() == []), project.leftovers()  # noqa: B023
            assert until(lambda: KEPT["slurm"](project.root) == []), KEPT["slurm"](project.root)  # noqa: B023


def job_of(head: Head) -> str:
    """The number of its job."""
    found = read_submitted(job_folder(head.plan))
    assert found is not None
    return found.job


@pytest.fixture
def cells(tmp_path: Path) -> Iterator[Cells]:
    """Cells whose jobs are ended with the test."""
    cluster()
    with ended_heads() as heads:
        yield Cells(tmp_path, heads)
        for head in heads:
            if (folder := job_folder(head.plan)).exists() and (left := read_submitted(folder)):
                queue.cancel(left.job)


def _lose_a_node(heads: list[Head], moment: random.Random) -> None:
    """All jobs of a node die; Slurm books them and starts them elsewhere."""
    folder = job_folder(moment.choice(heads).plan)
    *_, last = attempts(folder)
    power_cut(last.node)
    try:
        assert until(lambda: any(_is_requeued(job_of(head)) for head in heads))
        for head in heads:
            if _is_requeued(job_of(head)):
                queue.start_now(job_of(head))  # instead of two minutes
    finally:
        power_on(last.node)


def _preempt(heads: list[Head], moment: random.Random) -> None:
    job = job_of(moment.choice(heads))
    assert queue.requeue(job) == ""
    assert until(lambda: _is_requeued(job), within_s=60)
    queue.start_now(job)


def _restart_the_controller(_heads: list[Head], moment: random.Random) -> None:
    with without_controller():
        time.sleep(moment.uniform(2, 2 * STEPS * STEP_S))  # cells may end meanwhile


def _is_requeued(job: str) -> bool:
    info = queue.ask(job)
    return isinstance(info, queue.JobInfo) and info.is_pending and info.restarts > 0


# what befalls cells that run, and how many steps it may cost
FAULTS: dict[str, tuple[Callable[[list[Head], random.Random], None], int]] = {
    "node lost": (_lose_a_node, 2),
    "preempted": (_preempt, 1),
    "controller restarted": (_restart_the_controller, 0),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_cells_end_whatever_befalls_the_cluster(cells: Cells, fault: str, seed: int) -> None:
    """Jobs that were cut short resume; those that were not go on without noticing."""
    befall, repeated = FAULTS[fault]
    moment = random.Random(seed)
    heads = cells.start_all()
    time.sleep(moment.uniform(0, STEPS * STEP_S / 2))
    befall(heads, moment)
    cells.check(heads, repeated)


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_end_though_their_heads_are_killed(cells: Cells, seed: int) -> None:
    """Whether their jobs were submitted or not, heads that start again find them."""
    moment = random.Random(seed)
    heads = [cells.start(project) for project in cells.projects]
    for head in heads:
        time.sleep(moment.uniform(0, 1.5))
        head.ask(signal.SIGKILL)
    cells.check([cells.start(project) for project in cells.projects])


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_end_though_they_are_longer_than_their_time_limit(cells: Cells, seed: int) -> None:
    """Each checkpoints in time, returns to the queue and resumes."""
    cells.configure(time="2", warn_s=30)
    cells.steps = 400 + 50 * seed
    heads = cells.start_all()
    cells.check(heads)
    assert all("retries 0" not in head.text().splitlines()[-1] for head in heads), heads[0].text()


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_end_though_the_scratch_of_a_node_is_full(
    cells: Cells, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that meet a full disk move to other nodes."""
    python = tmp_path / "python"
    python.write_text(CRAMPED.format(folder=tmp_path / "cramped", python=sys.executable))
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    moment = random.Random(seed)
    heads = []
    for project in cells.projects:
        heads.append(cells.start(project))
        time.sleep(moment.uniform(0, 3))
    cells.check(heads)
    full = (tmp_path / "cramped/node").read_text().strip()
    assert any(f"the disk of node {full} is full" in head.text() for head in heads)
