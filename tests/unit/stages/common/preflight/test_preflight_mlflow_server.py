"""An MLflow server with each of the faults that would end a training: a double on loopback says what real ones say."""

import base64
import ssl
import subprocess
from pathlib import Path

import pytest

from stages.common.preflight.check import Check, Status
from stages.common.preflight.checks.clients import check_clients
from stages.common.preflight.checks.environment import check_environment
from stages.common.preflight.checks.http_requests import mlflow_login
from stages.common.preflight.checks.mlflow_server import API
from stages.common.preflight.checks.service import Answer
from stages.common.preflight.checks.services import ask_all, check_services, services_of
from stages.common.preflight.params import EnvironmentParams, ServiceParams, VariableParams
from tests.support.tracking.mlflow_double import INCOMPLETE, PAGE, UNKNOWN, CannedAnswer, experiment, mlflow_double

PARAMS = ServiceParams(critical=True, timeout_s=5, patience_s=0)
ENVIRONMENT = EnvironmentParams(
    critical=True, variables=VariableParams(ingest=(), preprocess=(), train=(), evaluate=())
)


def ask(url: str, **variables: str) -> Answer:
    variables = {"MLFLOW_TRACKING_URI": url, **variables}
    (answer,) = ask_all(services_of(variables, ()), variables, PARAMS)
    return answer


def checked(url: str, **variables: str) -> Check:
    (check,) = check_services([ask(url, **variables)], critical=True, tracking="required")
    return check


def test_a_healthy_server_is_asked_what_a_training_asks_and_nothing_changes_there() -> None:
    """The experiment, a write that lacks what it needs, the registry; the version beside."""
    with mlflow_double() as (url, asked):
        assert checked(url).status is Status.PASS
    assert asked == [
        f"GET {API}/experiments/get-by-name",
        "GET /version",
        f"POST {API}/experiments/set-experiment-tag",
        f"GET {API}/model-versions/search",
    ]


def test_an_experiment_that_does_not_exist_yet_is_no_fault() -> None:
    """A training creates it; whether it may is asked with a request that lacks the name."""
    with mlflow_double(asked=CannedAnswer(status=404, body=UNKNOWN)) as (url, asked):
        assert checked(url).status is Status.PASS
    assert f"POST {API}/experiments/create" in asked


def test_a_server_that_hides_its_version_is_taken_as_it_is() -> None:
    """A hosted one has no such page."""
    for says in (CannedAnswer(status=404, body="no"), CannedAnswer(body=PAGE)):
        with mlflow_double(version=says) as (url, _):
            assert checked(url).status is Status.PASS


FAULTS: dict[str, tuple[dict[str, CannedAnswer], str, str]] = {
    "deleted": (
        {"asked": experiment(lifecycle_stage="deleted")},
        "has the experiment capillary deleted",
        "mlflow experiments restore --experiment-id 7",
    ),
    "refused login": (
        {"asked": CannedAnswer(status=403)},
        "refuses these credentials (403)",
        "MLFLOW_TRACKING_PASSWORD",
    ),
    "may not create": (
        {"asked": CannedAnswer(status=404, body=UNKNOWN), "write": CannedAnswer(status=403)},
        "not written to (403)",
        "the right to create experiments",
    ),
    "may not write": ({"write": CannedAnswer(status=401)}, "not written to (401)", "another login"),
    "read-only proxy": ({"write": CannedAnswer(status=405)}, "not written to (405)", "another login"),
    "too old": ({"version": CannedAnswer(body="1.30.0")}, "is MLflow 1.30", "2.7 or later"),
    "bad gateway": (
        {"asked": CannedAnswer(status=502, body=PAGE)},
        "502: a proxy before the server",
        "the proxy's own log",
    ),
    "error": ({"asked": CannedAnswer(status=500, body=INCOMPLETE)}, "an error (500)", "docker compose up"),
    "another program": ({"asked": CannedAnswer(status=404, body="nothing")}, "is not an MLflow server (404)", "/#/"),
    "another api": ({"asked": CannedAnswer(body={"ok": True})}, "is not an MLflow server (200)", "/#/"),
    "another api with experiments": ({"asked": CannedAnswer(body={"experiment": 5})}, "is not an MLflow server", "/#/"),
    "an empty experiment": ({"asked": CannedAnswer(body={"experiment": None})}, "is not an MLflow server", "/#/"),
    "a bomb": ({"asked": CannedAnswer(body="[" * 100_000)}, "answers with a web page", "/#/"),
    "nowhere": ({"asked": CannedAnswer(status=302, location="http://[x")}, "leads to what is not an address", "URI"),
    "files nowhere": ({"asked": experiment(artifact_location="[bad\u202e")}, "([bad\\u202e)", "--artifacts"),
    "web page": ({"asked": CannedAnswer(body=PAGE)}, "answers with a web page", "MLFLOW_TRACKING_USERNAME"),
    "login page": (
        {"asked": CannedAnswer(status=302, location="/login"), "login": CannedAnswer(body=PAGE)},
        "answers with a web page",
        "MLFLOW_TRACKING_USERNAME",
    ),
    "plain http": (
        {"asked": CannedAnswer(status=400, body="Client sent an HTTP request to an HTTPS server.")},
        "accepts only TLS",
        "https:// instead of http://",
    ),
    "moved": (
        {"write": CannedAnswer(status=301, location="https://mlflow.example.org/x")},
        "redirects what is written to it (301)",
        "https://mlflow.example.org",
    ),
    "no registry": (
        {"registry": CannedAnswer(status=404, body=PAGE)},
        "has no model registry",
        "for versions, use a server",
    ),
    "registry refused": ({"registry": CannedAnswer(status=403)}, "refuses its model registry", "register models"),
    "files in its own folder": (
        {"asked": experiment(artifact_location="/mlruns/7")},
        "a folder on its own machine (/mlruns/7)",
        "--artifacts-destination",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_server_is_named_with_its_remedy(name: str) -> None:
    """Before the training that it would end."""
    says, what, remedy = FAULTS[name]
    with mlflow_double(**says) as (url, _):
        check = checked(url)
    assert check.status is Status.FAIL
    assert what in check.value
    assert remedy in check.remedy


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, file = folder / "key.pem", folder / "both.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*made, *named, "-keyout", key, "-out", file], check=True, capture_output=True)
    file.write_text(file.read_text() + key.read_text())
    return file


def test_a_self_signed_certificate_asks_for_its_file(certificate: Path) -> None:
    """With MLFLOW_TRACKING_SERVER_CERT_PATH all is well, as for MLflow's client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with mlflow_double(tls=context) as (url, _):
        check = checked(url)
        assert check.status is Status.FAIL
        assert "self-signed" in check.value
        assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in check.remedy
        assert checked(url, MLFLOW_TRACKING_SERVER_CERT_PATH=str(certificate)).status is Status.PASS
        other = checked(url.replace("127.0.0.1", "localhost"), MLFLOW_TRACKING_SERVER_CERT_PATH=str(certificate))
        assert "host name" in other.remedy


def test_tls_to_a_server_without_it_is_named() -> None:
    """https:// where http:// is spoken."""
    with mlflow_double() as (url, _):
        check = checked(url.replace("http://", "https://"))
    assert "TLS" in check.value
    assert "write http://" in check.remedy


@pytest.mark.parametrize(
    ("variables", "what"),
    [
        ({"MLFLOW_TRACKING_SERVER_CERT_PATH": "/no/such.pem"}, "names no file: /no/such.pem"),
        ({"MLFLOW_TRACKING_CLIENT_CERT_PATH": "/no/such.pem"}, "names no file: /no/such.pem"),
        ({"MLFLOW_TRACKING_SERVER_CERT_PATH": __file__, "MLFLOW_TRACKING_INSECURE_TLS": "true"}, "exclude each other"),
    ],
)
def test_what_mlflow_s_client_refuses_is_refused(variables: dict[str, str], what: str) -> None:
    """Certificates that do not exist, and two variables of which one only may be set."""
    with mlflow_double() as (url, asked):
        check = checked(url, **variables)
    assert check.status is Status.FAIL
    assert what in check.value
    assert not asked


def test_a_proxy_that_does_not_answer_is_told_from_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy names the variable and NO_PROXY."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    check = checked("http://mlflow.invalid:5000", HTTP_PROXY="http://127.0.0.1:9")
    assert "proxy" in check.value
    assert "HTTP_PROXY, or add mlflow.invalid to NO_PROXY" in check.remedy


def test_a_login_is_sent_as_mlflow_s_client_sends_it() -> None:
    """In UTF-8; a token that no header takes ends no check with a traceback."""
    with mlflow_double() as (url, _):
        assert checked(url, MLFLOW_TRACKING_USERNAME="zoë", MLFLOW_TRACKING_PASSWORD="pa€s").status is Status.PASS
        assert "cannot be sent in a header" in checked(url, MLFLOW_TRACKING_TOKEN="pa€s").value
    header = mlflow_login({"MLFLOW_TRACKING_USERNAME": "zoë", "MLFLOW_TRACKING_PASSWORD": "pa€s"})["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "zoë:pa€s"


def test_a_login_that_only_a_plug_in_can_make_is_not_judged() -> None:
    """MLflow's client signs what preflight cannot; a refusal says nothing then."""
    with mlflow_double(asked=CannedAnswer(status=401)) as (url, _):
        assert checked(url, MLFLOW_TRACKING_AUTH="kubernetes").status is Status.PASS


@pytest.mark.parametrize(
    ("uri", "artifacts", "packages"),
    [
        ("postgresql://db/x", "", "psycopg2-binary or psycopg2"),
        ("mysql+pymysql://db/x", "", "pymysql"),
        ("http://h", "s3://bucket/7", "boto3"),
        ("http://h", "gs://bucket/7", "google-cloud-storage"),
    ],
)
def test_a_store_that_needs_a_package_asks_for_it(uri: str, artifacts: str, packages: str) -> None:
    """A database's driver, or the client of the store where the server keeps files."""
    variables = {"MLFLOW_TRACKING_URI": uri}
    services = services_of({"MLFLOW_TRACKING_URI": "http://h"}, ())
    answers = [Answer(service=services[0], fault="", artifacts=artifacts)]
    (absent,) = check_clients(variables, answers, lambda _: False, critical=True)
    assert absent.status is Status.FAIL
    assert absent.threshold == packages
    (there,) = check_clients(variables, answers, lambda name: name in packages, critical=True)
    assert there.status is Status.PASS


def test_an_address_that_cannot_be_read_asks_for_no_package() -> None:
    """What is wrong with it, another check says."""
    assert list(check_clients({"MLFLOW_TRACKING_URI": "http://[::1:5000"}, [], lambda _: False, critical=True)) == []


def test_files_in_an_object_store_need_its_keys() -> None:
    """The client sends them there itself."""
    (service,) = services_of({"MLFLOW_TRACKING_URI": "http://h"}, ())
    answer = Answer(service=service, fault="", artifacts="s3://bucket/7")
    check = check_environment("train", {}, ENVIRONMENT, answers=[answer], top=Path("/nonexistent"))
    assert "AWS_ACCESS_KEY_ID (the MLflow server keeps files in s3://)" in check.value
