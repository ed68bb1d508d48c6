"""Where evaluate and predict find a network while its server has a fault: in the outbox, or they say what to do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from stages.common.errors import ExitCode, ServiceError
from stages.common.registered.finding import Places, find_networks
from stages.common.tracking.cards.card import card_json
from stages.common.tracking.publishing import CARD, NETWORK_KIND
from stages.common.tracking.registry import CARD_TAG, FORMAT, FORMAT_TAG, WEIGHTS_TAG
from stages.common.tracking.server import Server
from tests.support.tracking.cards import CARD as FIRST
from tests.support.tracking.mlflow_fake import AWAY, REVOKED
from tests.support.tracking.trainings import FakeRegistry
from tests.unit.stages.common.tracking.opened import Clock
from tests.unit.stages.common.tracking.spool.made import write

SECOND = replace(FIRST, fold=1, weights_sha256="1" * 64)
FAULTS: dict[str, Any] = {
    "dead": (AWAY, "does not answer"),
    "refuses the login": (REVOKED, "refuses the login"),
    "asks for patience": (MlflowException("failed with error code 429 != 200"), "does not list model versions"),
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    """It has both networks."""
    Clock(monkeypatch)
    made = FakeRegistry()
    for card in (FIRST, SECOND):
        told = {WEIGHTS_TAG: card.weights_sha256, FORMAT_TAG: FORMAT, CARD_TAG: card_json(card)}
        made.add(card.model_name, **told)
    return made


def outbox_with(folder: Path, *cards: Any) -> Path:
    """What waits for a server."""
    for card in cards:
        writer = write(folder, fingerprint=f"f{card.fold}")
        writer.add_publication(NETWORK_KIND, {CARD: card_json(card).encode()})
        writer.close()
    return folder


def broken(registry: FakeRegistry, fault: str) -> list[str]:
    """From now on each question ends with `fault`; the questions."""
    asked: list[str] = []

    def ask(words: str, **_more: object) -> Any:
        asked.append(words)
        raise FAULTS[fault][0]

    registry.search_model_versions = ask  # type: ignore[method-assign, assignment]
    return asked


def test_a_server_that_answers_has_the_last_word(registry: FakeRegistry, tmp_path: Path) -> None:
    """A network that it has is taken from it, though it waits here as well."""
    found = find_networks(
        [FIRST, SECOND], Places(server=registry.server, outbox=outbox_with(tmp_path / "o", FIRST, SECOND))
    )
    assert [one.version for one in found] == ["1", "2"]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_waits_here_needs_no_server(registry: FakeRegistry, tmp_path: Path, fault: str) -> None:
    """A server that does not answer is asked once, not for each fold."""
    asked = broken(registry, fault)
    places = Places(server=registry.server, outbox=outbox_with(tmp_path / "o", FIRST, SECOND))
    found = find_networks([FIRST, SECOND], places)
    assert [(one.version, "waits to be published" in one.place) for one in found] == [("", True)] * 2
    if fault == "dead":
        assert len(set(asked)) == 1


@pytest.mark.parametrize("fault", [*FAULTS, "offline", "not there"])
def test_a_network_that_cannot_be_had_is_named_with_the_reason(
    registry: FakeRegistry, tmp_path: Path, fault: str
) -> None:
    """A service error, before anything is computed; an expired token never reads as a network that is gone."""
    server: Server | None = registry.server
    words = FAULTS.get(fault, (None, ""))[1]
    if fault == "offline":
        server, words = None, "CAPILLARY_TRACKING=offline contacts no server"
    elif fault == "not there":
        registry.versions.clear()
        words = "has no version of capillary-dice_ce with the weights"
    else:
        broken(registry, fault)
    with pytest.raises(ServiceError, match=words) as caught:
        find_networks([FIRST, SECOND], Places(server=server, outbox=outbox_with(tmp_path / "o", FIRST)))
    assert caught.value.code is ExitCode.SERVICE
    assert "train it again" in caught.value.remedy.lower()
    assert ("registered on another server, or deleted" in caught.value.what) is (fault == "not there")
