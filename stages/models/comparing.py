"""Two trainings side by side: what they were trained with, what came out, and the difference on common volumes."""

from typing import Any

from mlflow.entities.model_registry import ModelVersion

from stages.common.registered.promotion.comparing import compare
from stages.common.registered.references import named_version
from stages.common.registered.trainings.reading import read_training
from stages.common.registered.trainings.training import Training
from stages.common.registered.versions import get_version
from stages.common.tracking.server import RefusedError, Server

FINGERPRINTS = {"data": "capillary.data_fingerprint", "code": "capillary.code_fingerprint"}


def compare_trainings(one: str, other: str, server: Server) -> dict[str, Any]:
    """The trainings that both references name. Raises what named_version and read_training raise."""
    versions = [named_version(reference, server) for reference in (one, other)]
    trainings = [read_training(version, server) for version in versions]
    return {
        "trainings": [_head(version, training) for version, training in zip(versions, trainings, strict=True)],
        "params": _differing(*(_facts(training, server) for training in trainings)),
        "metrics": [_metric(name, *trainings) for name in trainings[0].metrics],
    }


def _head(version: ModelVersion, training: Training) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": str(version.version),
        "training": training.id,
        "loss": training.loss,
        "rehearsal": training.rehearsal,
        "cells": len(training.cells),
        "volumes": len({volume.id for volume in training.volumes}),
    }


def _facts(training: Training, server: Server) -> dict[str, str]:
    """What it was trained and evaluated with, from the run of its first network and its own settings."""
    settings = {f"evaluation.{name}": str(value) for name, value in training.settings.model_dump().items()}
    cells = {
        "folds": ", ".join(map(str, sorted({cell.fold for cell in training.cells}))),
        "seeds": ", ".join(map(str, sorted({cell.seed for cell in training.cells}))),
    }
    return {"loss": training.loss, **cells, **_trained_with(training, server), **settings}


def _trained_with(training: Training, server: Server) -> dict[str, str]:
    cell = training.cells[0]
    network = get_version(str(cell.name), str(cell.version), server)
    try:
        run = server.call("find a run", lambda: server.client.get_run(str(network.run_id)))
    except RefusedError:
        return {"training.*": f"unknown: the run of {cell.name}/{cell.version} is gone"}
    params = {name: value for name, value in run.data.params.items() if name.startswith("training.")}
    known = {name: run.data.tags.get(tag, "")[:16] for name, tag in FINGERPRINTS.items()}
    return {**params, "network": run.data.params.get("network", ""), **known}


def _differing(one: dict[str, str], other: dict[str, str]) -> list[dict[str, str | None]]:
    keys = dict.fromkeys([*one, *other])
    return [
        {"name": key, "one": one.get(key), "other": other.get(key)} for key in keys if one.get(key) != other.get(key)
    ]


def _metric(name: str, one: Training, other: Training) -> dict[str, Any]:
    means = [found.summary[name].model_dump() if name in found.summary else None for found in (one, other)]
    paired = compare(one, other, name)
    difference = {**paired.values(), "why_not": paired.why_not or None}
    return {"metric": name, "one": means[0], "other": means[1], "paired": difference}
