"""MLflow's login goes to its server and to no other, whatever place for files a registry names."""

import pytest
from mlflow import MlflowClient
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

from stages.common.errors import ServiceError
from stages.common.tracking.artifact_store import SERVERS, open_store, refuse_other_server
from stages.common.tracking.server import Server

FILES = "api/2.0/mlflow-artifacts/artifacts/1"
HERE = "https://lab.example/mlflow"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server with a login."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cr3t-token")
    return Server(client=MlflowClient(HERE), uri=HERE)


@pytest.mark.parametrize(
    "place",
    [
        f"https://other.example/{FILES}",
        "mlflow-artifacts://other.example:443/1",
        f"http://lab.example/{FILES}",  # in the clear
        f"https://lab.example:8443/{FILES}",  # perhaps somebody else's program on that machine
        f"https://lab.example@other.example/{FILES}",
        f"https://other.example\\@lab.example/{FILES}",
        f"HTTPS://lab.example.other.example/{FILES}",
    ],
)
def test_another_server_gets_no_login(server: Server, place: str) -> None:
    """Whoever may write to the registry could collect the logins of all who read from it, or train."""
    for ask in (open_store, refuse_other_server):
        with pytest.raises(ServiceError, match="not sent to another server") as caught:
            ask(place, server)
        assert SERVERS in caught.value.remedy


@pytest.mark.parametrize(
    "place", [f"https://LAB.example:443/mlflow/{FILES}", "mlflow-artifacts:/1", "mlflow-artifacts://lab.example/1"]
)
def test_the_server_itself_gets_it(server: Server, place: str) -> None:
    """However its address is written."""
    assert isinstance(open_store(place, server), HttpArtifactRepository)


def test_a_server_that_the_user_names_gets_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files may be served by a machine of their own."""
    monkeypatch.setenv(SERVERS, "https://files.example, http://10.0.0.7:5500")
    for host in ("https://files.example", "http://10.0.0.7:5500"):
        assert isinstance(open_store(f"{host}/{FILES}", server), HttpArtifactRepository)


def test_other_stores_and_other_servers_without_a_login_are_left_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket has its own keys."""
    refuse_other_server("s3://bucket/1", server)
    refuse_other_server("/a/folder", server)
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    assert isinstance(open_store(f"https://other.example/{FILES}", server), HttpArtifactRepository)
