"""A plan with its provenance: the value in the order, files that the stage can read, nothing else changed."""

import dataclasses
from pathlib import Path

import pytest

from capillary.planning import provenance
from capillary.planning.access import StageAccess
from capillary.planning.plan import Dep, StagePlan
from capillary.settings import read_settings
from stages.common.runtime import StageOrder, order_json, read_order

ACCESS = StageAccess(network="tracking", env=(), resume=True, gpu="none", memory_gb=None, pids=9, shm_gb=0.1)


@pytest.fixture
def plan(root: Path) -> StagePlan:
    """A training that is about to run, in a folder without Git."""
    (root / "params.yaml").write_text("ingest: {source: a}\n")
    return StagePlan(
        stage="train",
        order=StageOrder(stage="train@a-0", fingerprint="f" * 64, state_dir=root / ".capillary/state/train@a-0-ffff"),
        argv=(),
        root=root,
        repository=root,
        deps=(Dep(name="data/processed", host=root),),
        dep_hashes={"data/processed": "aa.dir", "stages/train": "bb.dir"},
        outs=(),
        params={},
        access=ACCESS,
        environment={},
        user_environment={},
        needs_network=False,
        writable=(),
        grace_s=1,
    )


def test_a_tracked_stage_gets_where_it_comes_from(root: Path, plan: StagePlan, tmp_path: Path) -> None:
    """The order is still one that a stage can read; the fingerprint is as it was; the files go when the run is over."""
    settings = read_settings(root, {"A_TOKEN": "s3cr3t-value"})
    (root / "params.yaml").write_text("ingest: {source: a}\nkey: s3cr3t-value\n")
    made = provenance.with_provenance(plan, ["3.11.7", "x86_64"], settings)
    value = made.order.provenance
    assert value is not None
    assert (value.commit, value.environment, value.data) == (None, ("3.11.7", "x86_64"), {"data/processed": "aa.dir"})
    (tmp_path / "order.json").write_bytes(order_json(made.order))
    assert read_order(tmp_path / "order.json") == made.order
    assert dataclasses.replace(made, order=plan.order, deps=plan.deps) == plan
    assert made.order.fingerprint == plan.order.fingerprint
    folder = made.deps[-1].host
    assert folder is not None
    assert made.deps[-1].name == str(value.folder) == ".capillary/provenance"
    assert (folder / "params.yaml").read_text() == "ingest: {source: a}\nkey: ***\n"
    provenance.forget(made)
    assert not folder.exists()


def test_a_stage_that_tracks_nothing_needs_none(plan: StagePlan, root: Path) -> None:
    """preprocess has no run to record it in."""
    untracked = dataclasses.replace(plan, access=ACCESS.model_copy(update={"network": "none"}))
    assert provenance.with_provenance(untracked, [], read_settings(root, {})) is untracked
    provenance.forget(untracked)
