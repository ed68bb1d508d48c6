"""A server that answers 404 to its whole registry: networks are files of runs, and each command says so."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.utils.rest_utils import verify_rest_response

from stages.common.errors import ExitCode, ServiceError
from stages.common.registered.finding import Places, find_network
from stages.common.registered.loading import load_model
from stages.common.registered.publishers import PUBLISHERS, TRAINING_KIND
from stages.common.registered.references import named_versions
from stages.common.registered.trainings.training import FILE, training_json
from stages.common.tracking.publishing import NETWORK_KIND, network_files
from stages.common.tracking.receipts import read_receipt
from stages.common.tracking.server import OutageError, RefusedError, Server
from stages.common.tracking.spool.destination import Destination
from stages.common.tracking.spool.listing import spools_in
from stages.models.showing import list_models
from stages.sync.sync import sync
from tests.support.models.networks import card_of, package_of, random_network
from tests.support.tracking.empty_store import start_store
from tests.support.tracking.tracked import embedded_runtime, plain_run
from tests.support.tracking.trainings import made_training
from tests.unit.stages.common.tracking.opened import Clock, Failing
from tests.unit.stages.common.tracking.spool.made import write

REGISTRY = (
    *("create_registered_model", "get_registered_model", "search_registered_models", "search_model_versions"),
    *("get_model_version", "create_model_version", "set_registered_model_alias", "set_model_version_tag"),
)
PAGE = "<!doctype html><title>nginx</title>"


def answered(status: int, body: str) -> MlflowException:
    """What MLflow's client makes of an HTTP answer."""
    response: Any = SimpleNamespace(status_code=status, text=body)
    with pytest.raises(MlflowException) as caught:
        verify_rest_response(response, "/api/2.0/mlflow/registered-models/create")
    return caught.value


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        *((status, PAGE, "no registry") for status in (404, 405, 501)),
        (404, '{"detail":"Not Found"}', "no registry"),
        (404, '{"error":"unsupported endpoint"}', "no registry"),
        (405, '{"message":"Method Not Allowed"}', "no registry"),
        (404, '{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"model x not found"}', "refused"),
        (500, '{"error_code":"INTERNAL_ERROR","message":"file not found"}', "refused"),
        *((status, PAGE, "refused") for status in (400, 401, 403, 410, 413)),
        *((status, PAGE, "outage") for status in (408, 429, 500, 502, 503, 504)),
    ],
)
def test_what_an_answer_means(monkeypatch: pytest.MonkeyPatch, status: int, body: str, meaning: str) -> None:
    """A path that a server does not have is no outage, and an outage is no path that it does not have."""
    Clock(monkeypatch)
    error = answered(status, body)

    def ask() -> None:
        raise error

    with pytest.raises(ServiceError) as caught:
        Server(client=None, uri="http://h:1").call("answer", ask, 1.0)  # type: ignore[arg-type]
    assert isinstance(caught.value, OutageError) is (meaning == "outage")
    is_missing = isinstance(caught.value, RefusedError) and caught.value.is_missing_endpoint
    assert is_missing is (meaning == "no registry")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """An embedded store without a registry, which does not know the models that runs log since MLflow 3."""
    real = plain_run(embedded_runtime(start_store(tmp_path / "mlruns"))).server
    client: Any = Failing(real.client, **dict.fromkeys((*REGISTRY, "list_artifacts"), answered(404, PAGE)))
    return Server(client=client, uri=real.uri)


def test_a_network_is_published_found_and_loaded_and_the_rest_is_said(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What train and evaluate leave is sent; evaluate and predict find the network; no model can be listed."""
    model = random_network()
    card, training = card_of(model), made_training({"v0": 0.5, "v1": 0.6})
    outbox = tmp_path / "outbox"
    for fingerprint, kind, files in (
        (card.fingerprint, NETWORK_KIND, network_files(package_of(model), card)),
        ("e", TRAINING_KIND, {FILE: training_json(training)}),
    ):
        writer = write(outbox, fingerprint=fingerprint)
        writer.add_publication(kind, files)
        writer.add_status("FINISHED")
        writer.close()
    to = Destination(
        server=server, artifact_root=str(tmp_path / "files"), receipts=tmp_path / "receipts", publishers=PUBLISHERS
    )
    sync(outbox, to)
    assert list(spools_in(outbox)) == []
    receipt = read_receipt(tmp_path / "receipts", card.fingerprint, server.uri)
    assert receipt is not None
    assert receipt.version == ""

    for receipts in (tmp_path / "receipts", None):
        found = find_network(card, Places(server=server, receipts=receipts))
        assert (found.version, receipt.run_id in found.place) == ("", True)
    image = torch.rand(1, 1, 4, 6, 6)
    torch.testing.assert_close(load_model(found)(image), model.eval()(image), rtol=0, atol=0)
    said = " ".join(capsys.readouterr().out.split())
    assert f"the network of capillary-dice_ce is kept in the run {receipt.run_id}" in said
    assert "capillary-default gets no version, and no champion" in said

    for ask in (partial(list_models, ["capillary-default"]), partial(named_versions, "capillary-default@champion")):
        with pytest.raises(ServiceError, match="has no model registry") as caught:
            ask(server)
        assert caught.value.code is ExitCode.SERVICE
        assert "MLFLOW_TRACKING_URI" in caught.value.remedy
