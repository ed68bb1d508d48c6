"""What a question about the registry leaves for the command line: one JSON file."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from stages.common.registered import tags
from stages.common.registered.promotion.history import Entry
from stages.common.registered.trainings.training import Training
from stages.common.requests.questions import ANSWER, ANSWER_FILE


def write_answer(answer: Mapping[str, Any]) -> None:
    """Write `answer` into its folder, which is made."""
    folder = Path(ANSWER)
    folder.mkdir()
    (folder / ANSWER_FILE).write_text(json.dumps(answer, indent=2, ensure_ascii=False), encoding="utf-8")


def version_line(version: ModelVersion, aliases: Iterable[str]) -> dict[str, Any]:
    """A training's version in a list, from its tags alone."""
    metric = version.tags.get("capillary.metric", "")
    return {
        "version": str(version.version),
        "aliases": sorted(aliases),
        "training": version.tags.get(tags.TRAINING),
        "loss": version.tags.get("capillary.loss"),
        "cells": version.tags.get("capillary.cells"),
        "metric": metric,
        "value": version.tags.get(f"capillary.{metric}", ""),
        "rehearsal": version.tags.get(tags.REHEARSAL) == "true",
    }


def training_line(training: Training) -> dict[str, Any]:
    """A training with its means and networks."""
    return {
        "training": training.id,
        "loss": training.loss,
        "rehearsal": training.rehearsal,
        "metric": training.metrics[0],
        "confidence": training.settings.confidence,
        "summary": {name: training.summary[name].model_dump() for name in training.metrics},
        "networks": [
            {"fold": cell.fold, "seed": cell.seed, "name": cell.name, "version": cell.version}
            for cell in training.cells
        ],
        "rivals": [rival.model_dump() for rival in training.rivals],
    }


def history_lines(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The history, the newest first."""
    lines = []
    for entry in reversed(entries):
        fields = entry.model_dump(mode="json", exclude={"key", "former"})
        lines.append({**fields, "from": entry.former})
    return lines
