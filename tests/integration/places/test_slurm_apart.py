"""Nodes that cannot see the project: a job has its code in its script, and the rest goes through the remote."""

import contextlib
import dataclasses
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml

from capillary.dvc.remote import MAILBOXES, Remote
from capillary.executors.choose import Executor
from capillary.places.job import job_folder
from capillary.places.slurm import queue
from capillary.places.slurm.submitted import read_submitted
from capillary.planning.plan import StagePlan
from tests.support.chaos import rounds
from tests.support.clusters.leftovers import KEPT
from tests.support.clusters.places import PROFILE, Head, PlaceProject, ended_heads, until
from tests.support.clusters.slurm import cluster
from tests.support.parts import require
from tests.support.ports import free_port
from tests.support.tracking.fault_proxy import FaultProxy, fault_proxy

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
OUTAGE_S = 60
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-central-1"}


class ApartProject(PlaceProject):
    """A DVC project whose data is in DVC's cache, and whose nodes cannot see it."""

    def __init__(self, folder: Path, remote: str = "") -> None:
        super().__init__(folder / "project", "slurm")
        python = folder / "python"
        python.write_text(BLIND.format(project=self.root, python=sys.executable))
        python.chmod(0o755)
        profile = {**PROFILE, "files": "remote", "python": str(python)}
        config = {"max_jobs": 3, "stages": {"toy": "small"}, "profiles": {"small": profile}}
        (self.root / "configs/slurm.yaml").write_text(yaml.safe_dump(config))
        (self.root / ".dvc").mkdir()
        (self.root / ".dvc/config").write_text(CONFIG.format(remote=remote or folder / "remote"))
        self.remote = folder / "remote"
        self.data = Remote(self.root).add(self.root / "data/in.txt")

    def plan(self, mode: str, *, address: str = "toy", **variables: str) -> tuple[StagePlan, Executor]:
        """With DVC's hash of the data."""
        plan, place = super().plan(mode, address=address, **variables)
        return dataclasses.replace(plan, dep_hashes={**plan.dep_hashes, "data/in.txt": self.data}), place


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The way to an object store with the bucket `lab`."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    port = free_port()
    argv = [sys.executable, "-m", "moto.server", "--port", str(port)]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: _listens(port))
        boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}").create_bucket(
            Bucket="lab", CreateBucketConfiguration={"LocationConstraint": KEYS["AWS_DEFAULT_REGION"]}
        )
        with fault_proxy("127.0.0.1", port) as proxy:
            yield proxy
    finally:
        server.terminate()
        server.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


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


@pytest.mark.parametrize("seed", range(rounds(0, by_hand=3)))
def test_a_remote_that_does_not_answer_for_a_minute(tmp_path: Path, bucket: FaultProxy, seed: int) -> None:
    """Whatever is on its way then: head and node wait for it, the cell ends once, and no mailbox is left."""
    cluster()
    project = ApartProject(tmp_path, f"s3://lab/dvc\n    endpointurl = {bucket.url}")
    with ended_heads() as heads:
        heads.append(Head(project, "work", TOY_STEPS="60"))
        time.sleep(random.Random(seed).uniform(0, 30))
        bucket.close()
        time.sleep(OUTAGE_S)
        bucket.open()
        assert heads[0].code() == 0, heads[0].text()
    assert "does not answer" in heads[0].text()
    out = project.out()
    assert [int(step) for step in out["steps"].split()] == list(range(60))
    assert out["ends"] == "end\n"
    assert "retries 0" in heads[0].text().splitlines()[-1]
    assert until(lambda: project.leftovers() == []), project.leftovers()
    assert until(lambda: KEPT["slurm"](project.root) == [])
    listed = boto3.client("s3", endpoint_url=bucket.url).list_objects_v2(Bucket="lab")["Contents"]
    assert not [each["Key"] for each in listed if MAILBOXES in each["Key"]]
