"""One training on two nodes of a real cluster: the network that two processes on one machine train."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from capillary.compute.computing import stage_compute
from capillary.executors.choose import Executor, choose_executor
from capillary.lifetimes.stop import Stop
from capillary.places.choose import choose_place
from capillary.planning.access import read_access
from capillary.planning.make_plan import plan_stage
from capillary.planning.plan import StageRequest
from capillary.publishing.publish import publish
from capillary.settings import read_settings
from stages.common.tracking.cards.card import read_card
from tests.integration.train.train_sandbox import make_sandbox
from tests.support.chaos import BY_HAND
from tests.support.clusters.places import PROFILE, SETTINGS, ray_config
from tests.support.clusters.ray_cluster import shared_nodes
from tests.support.clusters.slurm import cluster
from tests.support.parts import REPOSITORY
from tests.support.warm import warm_python
from tests.unit.stages.train.tiny import PARAMS, write_volumes

WARM = ("CAPILLARY_TEST_WARM", "all")
PLACES = {"slurm": cluster, "ray": shared_nodes}
CARD, CURVE = "models/dice_ce/fold_0.json", "metrics/training/dice_ce/fold_0.csv"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The training's entry in dvc.yaml, without DVC."""

    root: Path

    @property
    def deps(self) -> list[str]:
        """Its data and its code."""
        return ["data/processed", "stages"]

    @property
    def outs(self) -> list[str]:
        """Its card and its learning curve."""
        return [CARD, CURVE]

    @property
    def cache_dir(self) -> Path:
        """Of no use here."""
        return self.root / ".dvc" / "cache"

    def params(self) -> dict[str, Any]:
        """A training of six steps."""
        return {"training": PARAMS}

    def dep_hashes(self) -> dict[str, str]:
        """What the cell is known by."""
        return dict.fromkeys(self.deps, "as written")


def make_project(root: Path) -> Path:
    """A project with tiny volumes, whose trainings are jobs and tasks of two nodes."""
    write_volumes(root / "data/processed")
    shutil.copytree(REPOSITORY / "stages", root / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    ray = ray_config()
    tasks = {**ray, "stages": {"train": "pair"}, "profiles": {"pair": {**ray["profiles"]["small"], "nodes": 2}}}
    (root / "configs/ray.yaml").write_text(yaml.safe_dump(tasks))
    jobs = {"max_jobs": 1, "stages": {"train": "pair"}, "profiles": {"pair": {**PROFILE, "nodes": 2, "memory_gb": 2}}}
    (root / "configs/slurm.yaml").write_text(yaml.safe_dump(jobs))
    return root


def train(root: Path, **variables: str) -> tuple[str, bytes]:
    """(the weights' checksum, the learning curve) of the training in the place that `variables` name."""
    settings = read_settings(root, {**os.environ, "CAPILLARY_THREADS": "1", **variables})
    executor: Executor = choose_place(root, "train", settings) or choose_executor(settings)
    access = read_access(root, "train")
    access = access.model_copy(update={"env": (*access.env, WARM[0])})
    request = StageRequest(
        stage="train", address="train", argv=("--loss", "dice_ce", "--fold", "0"), root=root, repository=root
    )
    identity = executor.environment_id(root, "train", access)
    compute = stage_compute(root, settings, lambda: executor.gpus(settings), executor.limits)
    plan = plan_stage(request, Entry(root=root), access, settings, identity, compute)
    assert executor.execute(plan, Stop(), lambda work: publish(work, plan.outs, root)) == 0
    return read_card(root / CARD).weights_sha256, (root / CURVE).read_bytes()


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs, tasks, stages and their workers start on an interpreter that has the libraries."""
    monkeypatch.setattr(sys, "executable", warm_python())
    monkeypatch.setenv(*WARM)


def alone(folder: Path) -> tuple[str, bytes]:
    """What two processes on this machine train."""
    sandbox = make_sandbox(folder)
    result = sandbox.run(processes=2)
    assert result.returncode == 0, result.stdout + result.stderr
    return read_card(folder / CARD).weights_sha256, (folder / CURVE).read_bytes()


@pytest.mark.parametrize(("place", "need"), PLACES.items() if BY_HAND else [("slurm", cluster)])
@pytest.mark.usefixtures("warm")
def test_two_nodes_train_what_two_processes_do(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], place: str, need: Callable[[], object]
) -> None:
    """Bit-equal weights and curve, from one process on each node; nothing of the job is left."""
    need()
    root = make_project(tmp_path / "project")
    assert train(root, **SETTINGS[place]) == alone(tmp_path / "alone")
    assert "2 processes share it" in capfd.readouterr().out
    assert not list((root / ".capillary/jobs").iterdir())
