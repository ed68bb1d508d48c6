"""A server that was away while the networks were trained and answers when they are evaluated."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.common.errors import DataError, ServiceError
from stages.common.registered.publishers import TRAINING_KIND
from stages.common.registered.trainings.training import FILE, Training, training_from, training_json
from stages.common.registered.waiting import State, publish_each
from stages.common.tracking.cards.card import card_json
from stages.common.tracking.publishing import NETWORK_KIND, card_in
from stages.common.tracking.server import Server
from stages.common.tracking.spool.destination import Destination
from stages.common.tracking.spool.folder import RECORDS
from stages.common.tracking.spool.listing import spools_in
from stages.evaluate.networks_first import networks_first
from tests.support.tracking.cards import CARD
from tests.support.tracking.mlflow_fake import FakeMlflow
from tests.support.tracking.trainings import made_training
from tests.unit.stages.common.tracking.spool.made import to, write

OTHER = "f" * 64
TRAINING = made_training({"v0": 0.5, "v1": 0.75})


class Registry:
    """A server whose registry takes a training once it has the networks, as the real one."""

    def __init__(self, outbox: Path) -> None:
        self.mlflow = FakeMlflow()
        self.networks: list[str] = []
        self.trainings: list[str] = []
        publishers = {NETWORK_KIND: self._network, TRAINING_KIND: self._training}
        self.to: Destination = replace(to(self.mlflow, outbox), publishers=publishers, first=networks_first(outbox))

    def _network(self, _server: Server, _run_id: str, folder: Path) -> Any:
        card = card_in(folder)
        assert card is not None
        self.networks.append(card.weights_sha256)
        return SimpleNamespace(fingerprint="f", name="capillary-a", version="1", weights_sha256=card.weights_sha256)

    def _training(self, _server: Server, _run_id: str, folder: Path) -> Any:
        training: Training = training_from((folder / FILE).read_bytes(), "it")
        if missing := {cell.weights_sha256 for cell in training.cells} - set(self.networks):
            raise DataError("the registry has no such network", remedy="x", value=missing)
        self.trainings.append(training.id)
        return SimpleNamespace(fingerprint=training.id, name="capillary-default", version="1", weights_sha256="")


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """The networks of a training and another one wait; then the training."""
    outbox = tmp_path / "outbox"
    for weights in (*(cell.weights_sha256 for cell in TRAINING.cells), OTHER):
        writer = write(outbox, fingerprint=weights)
        writer.add_publication(NETWORK_KIND, {"card.json": card_json(replace(CARD, weights_sha256=weights)).encode()})
        writer.add_status("FINISHED")
        writer.close()
    writer = write(outbox, stage="evaluate", fingerprint="evaluation")
    writer.add_publication(TRAINING_KIND, {FILE: training_json(TRAINING)})
    writer.add_status("FINISHED")
    writer.close()
    return outbox


def evaluate(outbox: Path, registry: Registry) -> State:
    """Send the run of evaluate, and no other."""
    spool = next(one for one in spools_in(outbox) if one.head.stage == "evaluate")
    ((result),) = publish_each([spool], registry.to)
    return result.state


def test_a_training_comes_after_its_networks(outbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those alone: what else waits is for `capillary sync`. It is said in one line."""
    registry = Registry(outbox)
    assert evaluate(outbox, registry) is State.PUBLISHED
    assert sorted(registry.networks) == sorted(cell.weights_sha256 for cell in TRAINING.cells)
    assert registry.trainings == [TRAINING.id]
    assert [spool.head.fingerprint for spool in spools_in(outbox)] == [OTHER]
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("published first what waited of the networks of this training") == 1


def test_a_run_that_cannot_be_read_holds_up_no_other(outbox: Path) -> None:
    """Somebody has put a pipe in the place of its records: `capillary sync` names it."""
    strange = next(spool for spool in spools_in(outbox) if spool.head.fingerprint == OTHER)
    (strange.folder / RECORDS).unlink()
    os.mkfifo(strange.folder / RECORDS)
    registry = Registry(outbox)
    assert evaluate(outbox, registry) is State.PUBLISHED
    assert registry.trainings == [TRAINING.id]


def test_networks_that_another_process_publishes_are_left_to_it(outbox: Path) -> None:
    """The training waits, as it did, and is published once they are there."""
    registry = Registry(outbox)
    first = next(spool for spool in spools_in(outbox) if spool.head.fingerprint == TRAINING.cells[0].weights_sha256)
    lock = first.lock("sender")
    assert lock is not None
    assert evaluate(outbox, registry) is State.WAITING
    assert first.head.fingerprint not in registry.networks
    lock.close()
    assert evaluate(outbox, registry) is State.PUBLISHED
    assert sorted(registry.networks) == sorted(cell.weights_sha256 for cell in TRAINING.cells), "each of them once"


def test_networks_that_cannot_be_published_lose_nothing(outbox: Path) -> None:
    """The server refuses them: everything waits."""
    registry = Registry(outbox)

    def refuse(*_args: object) -> None:
        raise ServiceError("the registry refuses networks", remedy="x")

    publishers = {**registry.to.publishers, NETWORK_KIND: refuse}
    registry.to = replace(registry.to, publishers=publishers)
    assert evaluate(outbox, registry) is State.WAITING
    assert len(list(spools_in(outbox))) == len(TRAINING.cells) + 2
