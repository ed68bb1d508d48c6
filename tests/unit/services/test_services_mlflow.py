import io
import runpy
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.support.parts import REPOSITORY

TEAM = {"POSTGRES_PASSWORD": "pg-word", "S3_ACCESS_KEY_ID": "s3-key", "S3_SECRET_ACCESS_KEY": "s3-word"}


@pytest.fixture
def serve(load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The entrypoint, in an environment that chooses nothing."""
    for name in (*TEAM, "MLFLOW_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    return load("mlflow/serve.py")


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    """A place that listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield "127.0.0.1", listening.getsockname()[1]


@pytest.mark.parametrize(("workers", "started"), [(None, "1"), ("3", "3")])
def test_alone_mlflow_keeps_runs_in_sqlite(
    serve: ModuleType, became: Any, monkeypatch: pytest.MonkeyPatch, workers: str | None, started: str
) -> None:
    """With one worker unless told otherwise, and for requests to known names only."""
    if workers:
        monkeypatch.setenv("MLFLOW_WORKERS", workers)
    with pytest.raises(became) as caught:
        serve.main()
    assert caught.value.argv == [
        *("mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", started),
        *("--allowed-hosts", "mlflow:5000,localhost,localhost:*,127.0.0.1,127.0.0.1:*,[::1]:*"),
    ]
    assert caught.value.variables["MLFLOW_BACKEND_STORE_URI"] == "sqlite:////mlflow/mlflow.db"
    assert caught.value.variables["MLFLOW_ARTIFACTS_DESTINATION"] == "/mlflow/artifacts"
    assert "PGPASSWORD" not in caught.value.variables


def test_with_a_password_mlflow_uses_the_team_s_stores(
    serve: ModuleType, became: Any, server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once both answer; secrets are in no URI and on no command line."""
    for name, value in TEAM.items():
        monkeypatch.setenv(name, value)
    host, port = server
    monkeypatch.setattr(serve, "POSTGRES", server)
    monkeypatch.setattr(serve, "OBJECT_STORE", server)
    with pytest.raises(became) as caught:
        serve.main()
    variables = caught.value.variables
    assert variables["MLFLOW_BACKEND_STORE_URI"] == f"postgresql+psycopg2://mlflow@{host}:{port}/mlflow"
    assert variables["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://mlflow"
    assert variables["MLFLOW_S3_ENDPOINT_URL"] == f"http://{host}:{port}"
    assert variables["PGPASSWORD"] == "pg-word"
    assert (variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"]) == ("s3-key", "s3-word")
    assert variables["AWS_DEFAULT_REGION"] == "us-east-1"
    assert not any("word" in word for word in caught.value.argv)


@pytest.mark.parametrize("missing", ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"])
def test_without_keys_the_team_s_stores_are_refused(serve: ModuleType, missing: str) -> None:
    """Before anything is waited for."""
    with pytest.raises(SystemExit, match=r"error: .*keys are missing; remedy: set S3_ACCESS_KEY_ID"):
        serve.team_stores({**TEAM, missing: ""})


def test_both_stores_are_waited_for(serve: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow ends at once where one is missing."""
    waited: list[tuple[str, int]] = []
    monkeypatch.setattr(serve, "wait_for", lambda *place: waited.append(place))
    serve.team_stores(dict(TEAM))
    assert waited == [("postgres", 5432), ("object-store", 9000)]


def test_a_server_that_starts_meanwhile_is_waited_for(
    serve: ModuleType, server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked once a second."""
    pauses: list[float] = []
    connect = socket.create_connection

    def refuse_twice(place: tuple[str, int], timeout: float) -> socket.socket:
        if len(pauses) < 2:
            raise ConnectionRefusedError
        return connect(place, timeout=timeout)

    monkeypatch.setattr(serve.socket, "create_connection", refuse_twice)
    monkeypatch.setattr(serve.time, "sleep", pauses.append)
    serve.wait_for(*server)
    assert pauses == [1, 1]


def test_a_server_that_never_starts_is_named(serve: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute, with what was refused."""
    times = iter([0.0, 59.0, 61.0])

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(serve.socket, "create_connection", refuse)
    monkeypatch.setattr(serve.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(serve.time, "sleep", lambda _s: None)
    with pytest.raises(
        SystemExit, match=r"error: postgres:5432 does not answer \(refused\); remedy: .*COMPOSE_PROFILES"
    ):
        serve.wait_for("postgres", 5432)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (204, 1), (503, 1)])
def test_a_server_is_well_when_it_says_so(monkeypatch: pytest.MonkeyPatch, status: int, code: int) -> None:
    """By status 200 and no other."""

    def answer(url: str, timeout: float) -> io.BytesIO:
        assert (url, timeout) == ("http://127.0.0.1:5000/health", 4)
        return type("Answer", (io.BytesIO,), {"status": status})()

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert health() == code


@pytest.mark.parametrize("error", [urllib.error.URLError("refused"), TimeoutError("late")])
def test_a_server_that_does_not_answer_is_not_well(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    """The container's health shows why."""

    def refuse(*_: object, **__: object) -> SimpleNamespace:
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert health() == str(error)


def health() -> object:
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(REPOSITORY / "services/mlflow/healthy.py"))
    return caught.value.code
