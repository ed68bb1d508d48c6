"""MLflow: runs, and the registry that is the home of the model. models/card.json only says which version it is.

The launcher sets MLFLOW_TRACKING_URI: to the server of the environment or .env, else to the SQLite file in mlruns/.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

# read by MLflow while it is imported
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from stages.common.errors import SERVICE, StageError
from stages.common.model import Model, from_json, to_json

FOLDER, FILE = "model", "model.json"
EMBEDDED = "sqlite:///"


@dataclass(frozen=True, kw_only=True)
class Card:
    """Which model it is: a version in the registry, and the checksum of its file."""

    name: str
    version: str
    sha256: str


def connect() -> MlflowClient:
    """A client of the store that the launcher names."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    uri = os.environ["MLFLOW_TRACKING_URI"]
    return MlflowClient(uri, registry_uri=uri)


def register(
    client: MlflowClient, name: str, model: Model, params: Mapping[str, object], metrics: Mapping[str, float]
) -> Card:
    """Log one run in the experiment `name` and register `model` under the same name; StageError if MLflow refuses."""
    try:
        run = client.create_run(_experiment_id(client, name), run_name=os.environ.get("DVC_EXP_NAME"))
        for key, value in params.items():
            client.log_param(run.info.run_id, key, value)
        for key, number in metrics.items():
            client.log_metric(run.info.run_id, key, number)
        text = to_json(model)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, FILE)
            file.write_text(text)
            client.log_artifact(run.info.run_id, str(file), FOLDER)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        version = client.create_model_version(name, f"{run.info.artifact_uri}/{FOLDER}", run.info.run_id)
        client.set_terminated(run.info.run_id)
    except MlflowException as error:
        raise _refused("keep the model", error) from error
    return Card(name=name, version=str(version.version), sha256=hashlib.sha256(text.encode()).hexdigest())


def load(client: MlflowClient, card: Card) -> Model:
    """The model of `card`, from the registry; StageError when it is another one than was trained."""
    try:
        source = client.get_model_version_download_uri(card.name, card.version)
        with tempfile.TemporaryDirectory() as folder:
            local = download_artifacts(
                artifact_uri=f"{source}/{FILE}", dst_path=folder, tracking_uri=os.environ["MLFLOW_TRACKING_URI"]
            )
            content = Path(local).read_bytes()
    except MlflowException as error:
        raise _refused(f"give version {card.version} of {card.name}", error) from error
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise StageError(
            f"version {card.version} of {card.name} is another model than models/card.json names",
            remedy="set MLFLOW_TRACKING_URI as it was for the training, or train again: dvc repro -f -s train",
        )
    return from_json(content.decode())


def write_card(file: Path, card: Card) -> None:
    """`card` as JSON."""
    file.write_text(json.dumps(asdict(card), indent=2) + "\n")


def read_card(file: Path) -> Card:
    """The card in `file`."""
    data = json.loads(file.read_text())
    return Card(name=str(data["name"]), version=str(data["version"]), sha256=str(data["sha256"]))


def _experiment_id(client: MlflowClient, name: str) -> str:
    if (known := client.get_experiment_by_name(name)) is not None:
        return str(known.experiment_id)
    uri = os.environ["MLFLOW_TRACKING_URI"]
    # a server has a place for artifacts; the embedded store keeps them next to its file
    place = str(Path(uri.removeprefix(EMBEDDED)).parent / "artifacts") if uri.startswith(EMBEDDED) else None
    return str(client.create_experiment(name, artifact_location=place))


def _refused(what: str, error: MlflowException) -> StageError:
    return StageError(
        f"MLflow does not {what}: {error}",
        remedy="check MLFLOW_TRACKING_URI and its credentials, or unset it for the store in mlruns/",
        code=SERVICE,
    )
