"""A runtime with an embedded store, and a model card, for tests that look at a few of their fields."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.common.runtime import Compute, Runtime
from stages.common.tracking.model_files import FILES, ModelFile
from stages.common.tracking.registry import ModelCard
from tests.support.recipe import RECIPE

CARD = ModelCard(
    loss="dice_ce",
    fold=0,
    seed=2026,
    run_id="r",
    model_name="capillary-dice_ce",
    model_version="1",
    weights_sha256="0" * 64,
    patch_voxels=(12, 96, 96),
    epochs=20,
    validation_dsc=0.8,
    fingerprint="f",
    precision="fp32",
    recipe=RECIPE,
    files={name: ModelFile(sha256="0" * 64, bytes=1) for name in FILES},
)


def embedded_runtime(store: Path, **changes: Any) -> Runtime:
    """A stage on one thread whose state and runs lie in the folder `store`, but for `changes`.

    `workers` and `threads` are those of its `compute`.
    """
    compute = changes.pop("compute", Compute())
    counts = {name: changes.pop(name, 1) for name in ("workers", "threads")}
    runtime = Runtime(
        stage="train",
        fingerprint="f",
        data_fingerprint="d",
        code_fingerprint="c",
        state_dir=store,
        compute=replace(compute, **counts),
        tracking_uri=f"sqlite:///{store}/mlflow.db",
        artifact_root=str(store / "artifacts"),
        experiment_name=None,
    )
    return replace(runtime, **changes)
