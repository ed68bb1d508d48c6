"""What is registered: the list of models, one model with its history, one version."""

from collections.abc import Sequence
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import DataError
from stages.common.registered.aliases import read_model
from stages.common.registered.promotion.history import read_entries
from stages.common.registered.references import named_version
from stages.common.registered.trainings.reading import is_training, read_training
from stages.common.tracking.names import START
from stages.common.tracking.server import RefusedError, Server
from stages.models.answer import history_lines, training_line, version_line


def list_models(known: Sequence[str], server: Server) -> dict[str, Any]:
    """Every model of capillary: those called `known` that exist, and those that the server lists.

    Some servers list nothing, so the names that a project can have are asked for one by one.
    """
    found = []
    for name in dict.fromkeys([*known, *_listed(server)]):
        try:
            found.append(_model(name, server))
        except DataError:  # a name that nobody registered yet
            continue
    return {"models": [model for model in found if model["versions"]]}


def show(reference: str, server: Server) -> dict[str, Any]:
    """A model (NAME), with its history; or one version."""
    if "@" not in reference and "/" not in reference:
        versions, _, _ = read_model(reference, server)
        return {**_model(reference, server), "history": history_lines(read_entries(versions))}
    version = named_version(reference, server)
    _, aliases, _ = read_model(version.name, server)
    return {"name": version.name, **_version(version, aliases, server)}


def _version(version: ModelVersion, aliases: dict[str, ModelVersion], server: Server) -> dict[str, Any]:
    number = str(version.version)
    held = sorted(alias for alias, one in aliases.items() if str(one.version) == number)
    common = {"version": number, "aliases": held, "run": version.run_id}
    if not is_training(version):
        return {**common, "kind": "network", "tags": dict(version.tags)}
    training = training_line(read_training(version, server))
    return {**common, "kind": "training", **training, "history": history_lines(read_entries([version]))}


def _model(name: str, server: Server) -> dict[str, Any]:
    versions, aliases, _ = read_model(name, server)
    held: dict[str, list[str]] = {}
    for alias, version in aliases.items():
        held.setdefault(str(version.version), []).append(alias)
    trainings = [version for version in versions if is_training(version)]
    return {
        "name": name,
        "kind": "trainings" if trainings else "networks",
        "versions": len(versions),
        "aliases": {alias: str(version.version) for alias, version in sorted(aliases.items())},
        "trainings": [version_line(one, held.get(str(one.version), ())) for one in reversed(trainings)],
    }


def _listed(server: Server) -> list[str]:
    def pages() -> list[str]:
        found: list[str] = []
        token: str | None = None
        while True:  # a page has 100
            page = server.client.search_registered_models(f"name LIKE '{START}%'", page_token=token)
            found += [model.name for model in page]
            token = page.token
            if not token:
                return found

    try:
        return sorted(server.call("list models", pages))
    except RefusedError:
        return []  # asked by name, the server says what it has and whether it lets this login in
