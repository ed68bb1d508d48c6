"""A network's folder in the outbox, to which other stages can write: what it may bring along into the registry."""

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import RestException

from stages.common.errors import DamagedError, ServiceError
from stages.common.tracking import publishing
from stages.common.tracking.publishing import network_files, publish_network
from stages.common.tracking.server import Server
from tests.support.models.networks import card_of, package_of, random_network

# one test for all: a network takes longest to pack
PLANTED: list[dict[str, Any]] = [
    {"capillary.alias.champion": '{"when": 1, "taken": false}'},
    {"capillary.promotion.01800000000000000000-00000000": "{}"},
    {"capillary.kind": "training"},
    {"mlflow.prompt.is_prompt": "true"},
    {"capillary.seed": 1},
    {f"capillary.{number}": "x" for number in range(51)},
]


@pytest.mark.parametrize(
    ("code", "is_registered"),
    [("INVALID_PARAMETER_VALUE", True), ("ENDPOINT_NOT_FOUND", True), ("PERMISSION_DENIED", False)],
)
def test_a_description_that_is_not_taken_costs_no_network(
    code: str, is_registered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what the next attempt may change is attempted again."""

    def refuse(*_given: object) -> None:
        raise RestException({"error_code": code, "message": "no"})

    monkeypatch.setattr(publishing, "register_model", lambda *_, **__: ("capillary-dice_ce", "1"))
    client: Any = SimpleNamespace(log_batch=lambda *_, **__: None, get_model_version=refuse)
    network = random_network()
    for name, content in network_files(package_of(network), card_of(network)).items():
        (tmp_path / name).write_bytes(content)
    server = Server(client=client, uri="http://h:1")
    with contextlib.nullcontext() if is_registered else pytest.raises(ServiceError):
        assert publish_network(server, "run", tmp_path).version == "1"


def test_a_network_brings_no_alias_and_no_history_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is registered, and the file is named; the tags of a training are taken."""
    network, registered = random_network(), []

    def register(_package: object, **given: Any) -> tuple[str, str]:
        registered.append(given)
        return "capillary-dice_ce", "1"

    monkeypatch.setattr(publishing, "register_model", register)
    pages: list[str] = []
    client: Any = SimpleNamespace(
        log_batch=lambda *_, **__: None,
        get_model_version=lambda *_: SimpleNamespace(description="".join(pages)),
        update_model_version=lambda *given: pages.append(given[2]),
    )
    server = Server(client=client, uri="http://h:1")
    for name, content in network_files(package_of(network), card_of(network), {"capillary.seed": "1"}).items():
        (tmp_path / name).write_bytes(content)
    publish_network(server, "run", tmp_path)
    publish_network(server, "run", tmp_path)
    (page,) = pages
    assert "`capillary predict --model capillary-dice_ce/1`" in page, "written once, over no other text"
    given, _ = registered
    assert given["extra_tags"]["capillary.seed"] == "1"
    for planted in PLANTED:
        (tmp_path / publishing.TAGS).write_text(json.dumps(planted))
        with pytest.raises(DamagedError) as caught:
            publish_network(server, "run", tmp_path)
        assert caught.value.file == tmp_path / publishing.TAGS
    assert len(registered) == 2
