"""Variables that a stage must have."""

from pathlib import Path

import pytest

from stages.common.preflight.check import Status
from stages.common.preflight.checks.environment import VENDOR_FILE, check_environment
from stages.common.preflight.checks.service import Answer, Kind, Service
from stages.common.preflight.params import EnvironmentParams, VariableParams

NO_MORE = VariableParams(ingest=(), preprocess=(), train=(), evaluate=())
PARAMS = EnvironmentParams(critical=True, variables=NO_MORE)
KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}


@pytest.mark.parametrize(
    ("source", "variables", "missing"),
    [
        ("samples/phantom", {}, ()),
        ("https://example.org/x.zip", {}, ()),
        ("s3://bucket/x", {}, ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        ("s3://bucket/x", {"AWS_ACCESS_KEY_ID": "k"}, ("AWS_SECRET_ACCESS_KEY",)),
        ("s3://bucket/x", KEYS, ()),
        ("s3://bucket/x", {"AWS_PROFILE": "lab"}, ()),
        ("s3://bucket/x", {"AWS_PROFILE": ""}, ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        ("s3://bucket/x", {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}, ()),
        ("s3://bucket/x", {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2"}, ()),
        ("s3://bucket/x", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost"}, ()),
        ("gs://bucket/x", {}, ("GOOGLE_APPLICATION_CREDENTIALS",)),
        ("gs://bucket/x", {"GOOGLE_APPLICATION_CREDENTIALS": "/no/such/file"}, ("GOOGLE_APPLICATION_CREDENTIALS",)),
        ("gs://bucket/x", {"GOOGLE_APPLICATION_CREDENTIALS": __file__}, ()),
    ],
)
def test_a_source_asks_for_its_keys(
    tmp_path: Path, source: str, variables: dict[str, str], missing: tuple[str, ...]
) -> None:
    """By the scheme of its URL; a variable that is missing is named with the reason."""
    check = check_environment("ingest", variables, PARAMS, source=source, top=tmp_path)
    assert check.status is (Status.FAIL if missing else Status.PASS)
    assert all(name in check.value for name in missing)
    assert check.value.count("AWS_") == sum(name.startswith("AWS_") for name in missing)
    assert check.name == "environment of ingest"
    assert not missing or (source.split("://")[0] in check.value or "does not exist" in check.value)


@pytest.mark.parametrize(("vendor", "source"), [("Amazon EC2", "s3://b/x"), ("Google", "gs://b/x")])
def test_a_cloud_s_own_machine_may_have_a_role(tmp_path: Path, vendor: str, source: str) -> None:
    """Its role brings the keys; whether it has one only the cloud knows."""
    (tmp_path / VENDOR_FILE).parent.mkdir(parents=True)
    (tmp_path / VENDOR_FILE).write_text(vendor + "\n")
    assert check_environment("ingest", {}, PARAMS, source=source, top=tmp_path).status is Status.PASS
    other = {"s3://b/x": "gs://b/x", "gs://b/x": "s3://b/x"}[source]
    assert check_environment("ingest", {}, PARAMS, source=other, top=tmp_path).status is Status.FAIL


def test_a_server_that_wants_a_login_asks_for_its_variables() -> None:
    """401, and nothing was sent."""
    service = Service(kind=Kind.MLFLOW, url="https://mlflow.example.org")
    check = check_environment("train", {}, PARAMS, answers=[Answer(service=service, fault="", status=401)])
    assert check.status is Status.FAIL
    assert "MLFLOW_TRACKING_USERNAME (https://mlflow.example.org asks for a login)" in check.value
    assert ".env" in check.remedy


def test_a_listed_variable_must_be_set() -> None:
    """What configs/preflight.yaml lists for one stage concerns that one; an empty value is none."""
    listed = EnvironmentParams(critical=True, variables=NO_MORE.model_copy(update={"train": ("HTTPS_PROXY",)}))
    assert check_environment("train", {"HTTPS_PROXY": ""}, listed).status is Status.FAIL
    assert check_environment("train", {"HTTPS_PROXY": "http://p"}, listed).status is Status.PASS
    assert check_environment("evaluate", {}, listed).status is Status.PASS
    assert check_environment("predict", {}, listed).status is Status.PASS  # not listed in the file
    missing = check_environment("train", {}, listed)
    assert missing.value == "missing: HTTPS_PROXY (configs/preflight.yaml lists it)"
    soft = listed.model_copy(update={"critical": False})
    assert check_environment("train", {}, soft).status is Status.WARN


@pytest.mark.parametrize(
    ("kind", "status", "had_credentials"),
    [(Kind.S3, 401, False), (Kind.MLFLOW, 401, True), (Kind.MLFLOW, 403, False), (Kind.MLFLOW, 200, False)],
)
def test_other_answers_need_no_variables(kind: Kind, status: int, had_credentials: bool) -> None:
    """Only MLflow's request for a login counts, and only if none was sent."""
    service = Service(kind=kind, url="https://h")
    answer = Answer(service=service, fault="", status=status, had_credentials=had_credentials)
    assert check_environment("train", {}, PARAMS, answers=[answer]).status is Status.PASS
