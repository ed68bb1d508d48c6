"""What a registry's refusal means: nothing under that name, a login that does not hold, or a server without a registry.

An expired token must never read as "no such model": whoever trusts that trains a model again that is there.
"""

from stages.common.errors import CapillaryError, ServiceError
from stages.common.tracking.server import RefusedError, Server, redact

_NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}
_LOGIN = {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"}
_LOGIN_REMEDY = (
    "renew the token or password in MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN, check MLFLOW_TRACKING_USERNAME "
    "and that this login may read the repository; then repeat"
)


def means_missing(error: RefusedError) -> bool:
    """Whether the server says that there is nothing under that name."""
    return error.error_code in _NOT_THERE


def explained(error: RefusedError, server: Server, missing: CapillaryError | None = None) -> CapillaryError:
    """The error to raise for `error`: `missing` where the server says that there is nothing, else why it refuses.

    Without `missing`, what the server says is passed on as it is.
    """
    if means_missing(error):
        return missing or ServiceError(error.what, remedy=error.remedy, value=error.value)
    place = redact(server.uri)
    if error.error_code in _LOGIN or not _answers_otherwise(server):
        return ServiceError(
            f"the server at {place} refuses this login: the token is wrong, expired, or not allowed to read models",
            remedy=_LOGIN_REMEDY,
            value=error.value,
        )
    return ServiceError(
        f"the server at {place} has no model registry, or one that cannot answer this request",
        remedy="use a server with MLflow's model registry (MLFLOW_TRACKING_URI), or the cards in models/",
        value=error.value,
    )


def _answers_otherwise(server: Server) -> bool:
    """Whether the same login may ask for experiments. A hosted server answers 401 without a code of MLflow's."""
    try:
        server.call("list experiments", lambda: server.client.search_experiments(max_results=1))
    except RefusedError:
        return False
    return True
