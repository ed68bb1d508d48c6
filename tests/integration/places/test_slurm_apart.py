"""Nodes that cannot see the project: a job has its code in its script, and the rest goes through the remote."""

import dataclasses
import os
import sys
from pathlib import Path

import pytest
import yaml

from capillary.dvc.remote import MAILBOXES, Remote
from capillary.executors.choose import Executor
from capillary.places.job import job_folder
from capillary.places.slurm import queue
from capillary.places.slurm.submitted import read_submitted
from capillary.planning.plan import StagePlan
from tests.support.clusters.places import PROFILE, Head, PlaceProject, ended_heads, until
from tests.support.clusters.slurm import cluster
from tests.support.parts import require

# the Python of a node where another disk is mounted over the project's
BLIND = """#!/bin/sh
exec unshare --mount sh -c 'mount -t tmpfs none "$0" && exec "$@"' '{project}' '{python}' "$@"
"""
CONFIG = """[core]
    no_scm = true
    analytics = false
    remote = lab
['remote "lab"']
    url = {remote}
"""


class ApartProject(PlaceProject):
    """A DVC project whose data is in DVC's cache, and whose nodes cannot see it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "project", "slurm")
        python = folder / "python"
        python.write_text(BLIND.format(project=self.root, python=sys.executable))
        python.chmod(0o755)
        profile = {**PROFILE, "files": "remote", "python": str(python)}
        config = {"max_jobs": 3, "stages": {"toy": "small"}, "profiles": {"small": profile}}
        (self.root / "configs/slurm.yaml").write_text(yaml.safe_dump(config))
        (self.root / ".dvc").mkdir()
        (self.root / ".dvc/config").write_text(CONFIG.format(remote=folder / "remote"))
        self.remote = folder / "remote"
        self.data = Remote(self.root).add(self.root / "data/in.txt")

    def plan(self, mode: str, *, address: str = "toy", **variables: str) -> tuple[StagePlan, Executor]:
        """With DVC's hash of the data."""
        plan, place = super().plan(mode, address=address, **variables)
        return dataclasses.replace(plan, dep_hashes={**plan.dep_hashes, "data/in.txt": self.data}), place


@pytest.fixture
def project(tmp_path: Path) -> ApartProject:
    cluster()
    require(os.geteuid() == 0, "a user who may hide a folder from a job")
    return ApartProject(tmp_path)


def test_a_node_that_does_not_see_the_project(project: ApartProject) -> None:
    """Its words come, its checkpoint goes from one attempt to the next, its outs are published; nothing is left."""
    with ended_heads() as heads:
        heads.append(Head(project, "save"))
        heads[0].wait_for("here")
        submitted = read_submitted(job_folder(heads[0].plan))
        assert submitted is not None
        try:
            queue.ask_to_checkpoint(submitted.job)  # as at the time limit
            assert heads[0].code() == 0, heads[0].text()
        finally:
            queue.cancel(submitted.job)
    assert "retries 1" in heads[0].text()
    assert project.out() == {"copy": "hello\n", "resumed": "checkpoint"}
    assert not any(heads[0].plan.state_dir.glob("*"))  # it was never on this disk
    assert until(lambda: project.leftovers() == []), project.leftovers()
    assert not (project.remote / MAILBOXES).exists() or not list((project.remote / MAILBOXES).iterdir())
