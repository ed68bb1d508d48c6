"""Everything that may wait to be published: networks, and trainings, which need their networks in the registry."""

from collections.abc import Mapping
from pathlib import Path

from stages.common.program.messages import get_logger
from stages.common.registered.promotion.publishing import PublishedTraining, publish_training
from stages.common.registered.trainings.training import FILE, Training, training_from
from stages.common.registered.versions import has_registry
from stages.common.tracking import publishing
from stages.common.tracking.publishing import Published, Publisher, read_local_file
from stages.common.tracking.server import Server, redact

log = get_logger(__name__)

TRAINING_KIND = "training"
_TRAINING_BYTES = 64 << 20


def publish(server: Server, run_id: str, folder: Path) -> Published:
    """Register the training in `folder`, and say what became of it.

    On a server without a registry there are no trainings: evaluate's tables are with its run anyway. Raises what
    publish_training raises.
    """
    training = training_from(read_local_file(folder, FILE, _TRAINING_BYTES), str(folder))
    name, version = training.registered_model, ""
    if has_registry(name, server):
        published = publish_training(server, run_id, folder)
        version = published.version
        _tell(training, published)
    else:
        log.warning(f"MLflow at {redact(server.uri)} has no model registry: {name} gets no version, and no champion")
    return Published(fingerprint=training.id, name=name, version=version, weights_sha256="")


PUBLISHERS: Mapping[str, Publisher] = {
    **publishing.PUBLISHERS,
    TRAINING_KIND: publish,
}


def _tell(training: Training, published: PublishedTraining) -> None:
    label = f"{published.name} version {published.version}"
    log.info(f"registered {label}: training {training.id} of {training.loss}" + (", a rehearsal" * training.rehearsal))
    if published.standing is None:
        return
    if published.entry is not None:
        log.info(f"{label} was compared for champion: {published.entry.why}")
    log.info(f"champion of {published.name}: version {published.standing.champion}")
