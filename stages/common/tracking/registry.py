"""The model registry: a fold's network becomes a version of the model capillary-<loss>; loading.py brings it back.

One road for every server, MLflow 2.7 and 3.x alike: save_model → log_artifacts → create_model_version. (A 3.x
client's log_model asks for endpoints that older and hosted servers do not have.)
"""

from collections.abc import Mapping

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from stages.common.program.messages import get_logger
from stages.common.tracking.model_files import Package, mlflow_folder
from stages.common.tracking.names import of_loss
from stages.common.tracking.server import RefusedError, Server, settled, uploads

log = get_logger(__name__)

WEIGHTS_TAG = "capillary.weights_sha256"
ALIAS_TAG = "capillary.alias"
FOLD_TAG = "capillary.fold"
# on a version: the seed from which its network was trained
SEED_TAG = "capillary.seed"
# on a version: its card, for who has no models/ at hand (stages/predict/models)
CARD_TAG = "capillary.card"
# on a version: the form of its files; a version without the tag is a pickle of an earlier version of capillary
FORMAT_TAG = "capillary.format"
FORMAT = "safetensors-1"
NETWORK = "model"  # the folder of a network among the files of its run
# on a version: the fingerprint of its training
FINGERPRINT_TAG = "capillary.fingerprint"
# on a version that `capillary models convert` made: the number of the old one
CONVERTED_TAG = "capillary.converted_from"
# on a version: the card's `setup`
SETUP_TAG = "capillary.setup"


def register_model(
    package: Package,
    *,
    server: Server,
    run_id: str,
    loss: str,
    fold: int,
    fingerprint: str,
    extra_tags: Mapping[str, str] | None = None,
) -> tuple[str, str]:
    """Upload `package` to its run and register it as a version of capillary-<loss>; (name, version).

    May be repeated: one fingerprint and one set of weights make one version, because a version is created after its
    files are complete and is looked for first. Raises ServiceError when the server does not take it.
    """
    name = of_loss(loss)
    tags = {
        **(extra_tags or {}),
        WEIGHTS_TAG: package.weights_sha256,
        FORMAT_TAG: FORMAT,
        FINGERPRINT_TAG: fingerprint,
        FOLD_TAG: str(fold),
    }
    server.call("create a registered model", lambda: create_model(server, name))
    versions = server.call("list model versions", lambda: versions_of(server, name))
    known = next((version for version in versions if _is_same(version, tags)), None)
    if known is None:
        # never over the files of a version that exists
        is_first = not any(version.run_id == run_id for version in versions)
        with settled(server):
            source = upload_model(package, server, run_id, NETWORK if is_first else own_folder(package.weights_sha256))
            known = server.call("create a model version", lambda: _find_or_create(server, name, run_id, source, tags))
    return name, str(known.version)


def versions_of(server: Server, name: str) -> list[ModelVersion]:
    """Every version of the model `name`, none if there is no such model; they never carry aliases (mlflow#16734)."""
    found: list[ModelVersion] = []
    token = None
    while True:
        page = server.client.search_model_versions(f"name = '{name}'", page_token=token)
        found += [version for version in page if version.name == name]
        if not (token := page.token):
            return found


def own_folder(weights: str) -> str:
    """The folder of a network among the files of a run that has another one."""
    return f"{FORMAT}-{weights[:12]}"


def _is_same(version: ModelVersion, tags: Mapping[str, str]) -> bool:
    """Whether `version` is of this training and has these weights in today's form; older ones are pickles."""
    return all(version.tags.get(tag) == tags[tag] for tag in (WEIGHTS_TAG, FORMAT_TAG, FINGERPRINT_TAG))


def create_model(server: Server, name: str) -> None:
    """Make the registered model `name` unless it is there."""
    try:
        server.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _find_or_create(server: Server, name: str, run_id: str, source: str, tags: dict[str, str]) -> ModelVersion:
    # looked for at each attempt: the answer to the attempt before may have been lost
    for version in versions_of(server, name):
        if _is_same(version, tags):
            return version
    return server.client.create_model_version(name, source=source, run_id=run_id, tags=tags)


def upload_model(package: Package, server: Server, run_id: str, folder: str) -> str:
    """Upload `package` as an MLflow model to `folder` of the run's artifacts; the URI of that folder."""
    with mlflow_folder(package) as local, uploads():
        server.call("take an upload", lambda: server.client.log_artifacts(run_id, str(local), folder))
    run = server.call("find a run", lambda: server.client.get_run(run_id))
    return f"{run.info.artifact_uri}/{folder}"


def set_alias(server: Server, name: str, alias: str, version: str) -> None:
    """Let `alias` name `version` of the model; a tag of the version does where the server refuses aliases."""
    client = server.client
    try:
        server.call("set an alias", lambda: client.set_registered_model_alias(name, alias, version))
    except RefusedError as error:
        server.call("tag a version", lambda: client.set_model_version_tag(name, version, ALIAS_TAG, alias))
        log.warning(f"{error.what}: version {version} of {name} carries the tag {ALIAS_TAG} = {alias} instead")
