"""Trainings with made-up results, and an MLflow registry in memory."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from mlflow import MlflowClient
from mlflow.exceptions import RestException

from stages.common.registered.trainings.training import Cell, Settings, Training, VolumeResult, training_id
from stages.common.statistics.results import Interval
from stages.common.tracking.server import Server

SETTINGS = Settings(
    overlap=0.5,
    threshold=0.5,
    test_time_flips="none",
    min_component_um3=None,
    nsd_tolerance_um=1.0,
    confidence=0.95,
    bootstrap_iterations=100,
    seed=1,
)


def sha256(text: str) -> str:
    """Of `text`, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def made_training(values: Mapping[str, float], *, name: str = "one", metric: str = "dsc", **changes: Any) -> Training:
    """A training of two folds whose volumes have `values` (id → value); `name` decides its fingerprints and weights."""
    cells = tuple(
        Cell(
            loss="dice_ce",
            fold=fold,
            seed=0,
            fingerprint=f"{name}-{fold}",
            weights_sha256=sha256(f"{name}-{fold}"),
            files={},
        )
        for fold in (0, 1)
    )
    volumes = tuple(
        VolumeResult(
            id=volume, group=volume, fold=place % 2, seed=0, label_sha256=sha256(volume), values={metric: value}
        )
        for place, (volume, value) in enumerate(values.items())
    )
    mean = sum(values.values()) / max(len(values), 1)
    fields: dict[str, Any] = {
        "id": training_id(cell.fingerprint for cell in cells),
        "registered_model": "capillary-default",
        "loss": "dice_ce",
        "rehearsal": False,
        "stands": True,
        "cells": cells,
        "metrics": (metric,),
        "summary": {metric: Interval(mean=mean, ci_low=None, ci_high=None)},
        "volumes": volumes,
        "settings": SETTINGS,
    }
    return Training(**{**fields, **changes})


class FakeRegistry:
    """What the code asks of MlflowClient about registered models; one that `takes_aliases` or not.

    `refusal` is an error code with which everything is refused.
    """

    def __init__(self, *, takes_aliases: bool = True, refusal: dict[str, str] | None = None) -> None:
        self.takes_aliases, self.refusal = takes_aliases, refusal
        self.versions: dict[str, list[Any]] = {}
        self.aliases: dict[str, dict[str, str]] = {}

    @property
    def server(self) -> Server:
        """As the code sees it."""
        return Server(client=cast(MlflowClient, self), uri="http://example.org")

    def add(self, name: str, **tags: str) -> str:
        """A new version with `tags`, its number."""
        made = self.versions.setdefault(name, [])
        number = str(len(made) + 1)
        made.append(SimpleNamespace(name=name, version=number, tags=dict(tags), run_id="r"))
        return number

    def get_registered_model(self, name: str) -> Any:
        self._refuse(name)
        return SimpleNamespace(name=name, aliases=dict(self.aliases.get(name, {})), description="")

    def search_model_versions(self, ask: str, page_token: str | None = None) -> Any:
        """Two on a page, the newest first, without aliases."""
        self._refuse()
        name = ask.removeprefix("name = '").removesuffix("'")
        start = int(page_token or 0)
        every = list(reversed(self.versions.get(name, [])))
        page = _Page(copy.deepcopy(every[start : start + 2]))
        page.token = str(start + 2) if start + 2 < len(every) else None
        return page

    def search_experiments(self, max_results: int) -> Sequence[Any]:
        """Refused where everything is."""
        self._refuse()
        return []

    def get_model_version(self, name: str, version: str) -> Any:
        self._refuse(name)
        found = [one for one in self.versions[name] if one.version == version]
        if not found:
            raise _missing()
        return copy.deepcopy(found[0])

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        if not self.takes_aliases:
            raise RestException({"error": "unsupported endpoint"})
        self.get_model_version(name, version)
        self.aliases.setdefault(name, {})[alias] = version

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self.get_model_version(name, version)
        next(one for one in self.versions[name] if one.version == version).tags[key] = value

    def _refuse(self, name: str | None = None) -> None:
        if self.refusal is not None:
            raise RestException(self.refusal)
        if name is not None and name not in self.versions:
            raise _missing()


class _Page(list[Any]):
    token: str | None = None


def _missing() -> RestException:
    return RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "there is none"})
