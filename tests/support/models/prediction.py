"""A workspace with registered networks whose answer is known, for `capillary predict`."""

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import torch

from stages.common.imaging.recipe import Recipe
from stages.common.tracking.cards.card import ModelCard, card_json, write_card
from stages.common.tracking.registry import CARD_TAG, register_model, set_alias
from tests.support.models.networks import package_of
from tests.support.models.recipe import RECIPE
from tests.support.parts import REPOSITORY
from tests.support.tracking.cards import CARD
from tests.support.tracking.empty_store import start_store
from tests.support.tracking.tracked import embedded_runtime, plain_run
from tests.support.warm import warm_environment


class PredictionProject:
    """The repository's own stages, params and graph in another folder, by links, with an embedded store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        for name in ("dvc.yaml", "params.yaml"):
            shutil.copy(REPOSITORY / name, root)
        for name in ("stages", "configs"):
            (root / name).symlink_to(REPOSITORY / name)
        self.store = start_store(root / "mlruns")

    def register(
        self,
        network: torch.nn.Module,
        *,
        loss: str = "dice_ce",
        fold: int = 0,
        patch_voxels: tuple[int, int, int] = (4, 16, 16),
        recipe: Recipe = RECIPE,
    ) -> ModelCard:
        """A network as train registers it, with an alias: a version with its card as a tag, and the card in models/."""
        runtime = embedded_runtime(self.store, fingerprint=f"{loss}-{fold}")
        package = package_of(network, patch_voxels=patch_voxels, recipe=recipe)
        card = dataclasses.replace(
            CARD,
            loss=loss,
            fold=fold,
            fingerprint=runtime.fingerprint,
            weights_sha256=package.weights_sha256,
            patch_voxels=patch_voxels,
            recipe=recipe,
            files=package.files,
        )
        run = plain_run(runtime)
        name, version = register_model(
            package,
            server=run.server,
            run_id=run.run_id,
            loss=loss,
            fold=fold,
            fingerprint=card.fingerprint,
            extra_tags={CARD_TAG: card_json(card)},
        )
        set_alias(run.server, name, f"fold-{fold}", version)
        write_card(self.root / f"models/{loss}/fold_{fold}.json", card)
        return card

    def predict(self, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`capillary predict ARGV` in the workspace, output captured."""
        return subprocess.run(
            ("capillary", "predict", *argv),
            cwd=self.root,
            env=warm_environment(**{"CAPILLARY_EXECUTOR": "process", "CAPILLARY_THREADS": "1", **variables}),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """`capillary predict ARGV` in the workspace as its own process, running; its output is dropped."""
        return subprocess.Popen(
            ("capillary", "predict", *argv),
            cwd=self.root,
            env={**os.environ, "CAPILLARY_EXECUTOR": "process", "CAPILLARY_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
