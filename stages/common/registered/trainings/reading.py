"""A registered training: its training.json, and the versions of its networks."""

import functools

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import DataError
from stages.common.registered import tags
from stages.common.registered.files import fetch_file
from stages.common.registered.trainings.training import FILE, MOST_BYTES, Cell, Training, training_from
from stages.common.registered.versions import get_version
from stages.common.tracking import names
from stages.common.tracking.registry import WEIGHTS_TAG
from stages.common.tracking.server import Server


def is_training(version: ModelVersion) -> bool:
    """Whether `version` is a training, not a network."""
    return bool(version.tags.get(tags.KIND) == tags.TRAINING_KIND)


def read_training(version: ModelVersion, server: Server) -> Training:
    """The training that `version` is. Raises DataError for a network, and for a file that is not this version's."""
    label = f"{version.name}/{version.version}"
    if not is_training(version):
        raise DataError(
            f"{label} is not a training: it is a single network, or another program's model",
            remedy="name a training, such as capillary-default@champion; capillary models lists them",
            value=label,
        )
    training = training_from(fetch_file(FILE, version.name, str(version.version), server, MOST_BYTES), label)
    if training.digest != version.tags.get(tags.EVALUATION):
        raise DataError(
            f"{FILE} of {label} differs from the one that was registered",
            remedy="find out who changed it, or evaluate again: dvc repro -f -s evaluate",
            value=f"{training.digest[:12]} instead of {version.tags.get(tags.EVALUATION, 'nothing')[:12]}",
        )
    return training


def networks_of(version: ModelVersion, server: Server) -> list[ModelVersion]:
    """The versions of the networks of the training `version`, in the order of its cells.

    Raises DataError if one is gone or is not the network that the training names.
    """
    label = f"{version.name}/{version.version}"
    return [_network(cell, label, server) for cell in read_training(version, server).cells]


def _network(cell: Cell, label: str, server: Server) -> ModelVersion:
    if cell.version is None or cell.name != names.of_loss(cell.loss):
        raise DataError(
            f"{label} does not say where the network of fold {cell.fold} is",
            remedy="name another version, or evaluate again: dvc repro -f -s evaluate",
            value=cell.name,
        )
    network = get_version(cell.name, cell.version, server)
    if network.tags.get(WEIGHTS_TAG) != cell.weights_sha256:
        raise DataError(
            f"{cell.name}/{cell.version} is not the network of fold {cell.fold} that {label} names",
            remedy="find out who replaced it, or name another training",
            value=f"{network.tags.get(WEIGHTS_TAG, 'no weights')[:12]} instead of {cell.weights_sha256[:12]}",
        )
    return network


class Trainings:
    """Trainings of one registered model by their version, each fetched once."""

    def __init__(self, name: str, server: Server) -> None:
        self.read = functools.cache(lambda version: read_training(get_version(name, version, server), server))
