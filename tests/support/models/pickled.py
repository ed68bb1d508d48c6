"""Versions as earlier versions of capillary registered them: a pickled network; and pickles that run code."""

import dataclasses
import json
import tempfile
from pathlib import Path

import mlflow.pytorch
import torch

from stages.common.networks.weights import weights_sha256
from stages.common.tracking.cards.card import ModelCard
from stages.common.tracking.registry import CARD_TAG, WEIGHTS_TAG
from tests.support.tracking.cards import CARD
from tests.support.tracking.tracked import embedded_runtime, plain_run


class Planted:
    """Unpickled, it writes `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


def register_pickled(store: Path, network: torch.nn.Module, loss: str = "dice_ce", **changes: object) -> ModelCard:
    """`network` as a version of capillary-<loss> in the embedded store, in the old form; its card lacks `files`."""
    card = dataclasses.replace(CARD, loss=loss, weights_sha256=weights_sha256(network), **changes)  # type: ignore[arg-type]
    tag = {**dataclasses.asdict(card), "model_name": "", "model_version": ""}
    del tag["files"]
    name = f"capillary-{loss}"
    runtime = embedded_runtime(store, fingerprint=f"pickled {loss} {card.weights_sha256}")
    run = plain_run(runtime)
    with tempfile.TemporaryDirectory() as folder:
        client = run.server.client
        mlflow.pytorch.save_model(network, f"{folder}/model", pip_requirements=["torch"], serialization_format="pickle")
        client.log_artifacts(run.run_id, f"{folder}/model", "model")
        if not client.search_model_versions(f"name = '{name}'"):
            client.create_registered_model(name)
        tags = {CARD_TAG: json.dumps({**tag, "run_id": run.run_id}), WEIGHTS_TAG: card.weights_sha256}
        source = f"{client.get_run(run.run_id).info.artifact_uri}/model"
        version = client.create_model_version(name, source=source, run_id=run.run_id, tags=tags)
        client.set_registered_model_alias(name, f"fold-{card.fold}", version.version)
    return card
