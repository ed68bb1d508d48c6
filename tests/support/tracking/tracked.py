"""A runtime with an embedded store, and a model card, for tests that look at a few of their fields."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from stages.common.registered.finding import Places, find_network
from stages.common.registered.loading import load_model
from stages.common.runtime import Compute, Runtime
from stages.common.tracking.address import EXPERIMENT
from stages.common.tracking.cards.card import ModelCard
from stages.common.tracking.server import Server, connect


def embedded_runtime(store: Path, **changes: Any) -> Runtime:
    """A stage on one thread whose state and runs are in the folder `store`, but for `changes`.

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
        outbox=store / "outbox",
        receipts=store / "receipts",
        experiment_name=None,
    )
    return replace(runtime, **changes)


@dataclass(frozen=True, kw_only=True)
class PlainRun:
    """A run that was made at a server directly."""

    server: Server
    run_id: str


def plain_run(runtime: Runtime) -> PlainRun:
    """A run of the experiment, as a sender makes it, with nothing in it."""
    server = connect(runtime)
    known = server.client.get_experiment_by_name(EXPERIMENT)
    experiment = known.experiment_id if known else server.client.create_experiment(EXPERIMENT, runtime.artifact_root)
    return PlainRun(server=server, run_id=server.client.create_run(experiment).info.run_id)


def load(card: ModelCard, server: Server) -> torch.nn.Module:
    """The network of `card` from the registry of `server`."""
    return load_model(find_network(card, Places(server=server)))
