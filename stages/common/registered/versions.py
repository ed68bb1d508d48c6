"""Versions of one registered model. Every question names the model: a list of all models comes back empty from some
servers (MLflow 2.7 and 2.14, asked by a 3.17 client).
"""

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import DataError
from stages.common.registered.refusals import explained
from stages.common.tracking import names
from stages.common.tracking.registry import WEIGHTS_TAG, create_model, versions_of
from stages.common.tracking.server import RefusedError, Server, redact


def list_versions(name: str, server: Server) -> list[ModelVersion]:
    """Every version of the model `name`, from the first to the last; none for an unknown name."""
    try:
        found = server.call("list model versions", lambda: versions_of(server, name))
    except RefusedError as error:
        raise explained(error, server, nothing(name, server)) from error
    return sorted(found, key=lambda one: int(one.version))


def has_registry(name: str, server: Server) -> bool:
    """Whether the server has a model registry, asked for the versions of `name`."""
    try:
        server.call("list model versions", lambda: server.client.search_model_versions(f"name = '{name}'"))
    except RefusedError as error:
        if error.is_missing_endpoint:
            return False
        raise
    return True


def get_version(name: str, version: str, server: Server) -> ModelVersion:
    """One version. Raises DataError if the registry has none of that number, ServiceError if it refuses."""
    try:
        return server.call("find a model version", lambda: server.client.get_model_version(name, version))
    except RefusedError as error:
        raise explained(error, server, nothing(f"{name}/{version}", server)) from error


def network_version(loss: str, weights_sha256: str, server: Server) -> ModelVersion:
    """The version that holds the network with these weights. Raises DataError if the registry has none."""
    name = names.of_loss(loss)
    found = [one for one in list_versions(name, server) if one.tags.get(WEIGHTS_TAG) == weights_sha256]
    if not found:
        raise nothing(f"{name} with the weights {weights_sha256[:12]}", server)
    # equal weights are one network; the last one is in today's form if a previous one was converted
    return found[-1]


def ensure_name(name: str, server: Server) -> None:
    """Make the registered model `name` unless it is there."""
    try:
        server.call("create a registered model", lambda: create_model(server, name))
    except RefusedError as error:
        raise explained(error, server) from error


def nothing(reference: str, server: Server) -> DataError:
    """The registry was asked and has no such thing."""
    return DataError(
        f"the registry at {redact(server.uri)} has no model {reference}",
        remedy="capillary models lists its models; or point MLFLOW_TRACKING_URI at another registry",
        value=reference,
    )
