"""The profile `team`: PostgreSQL and an S3 store behind MLflow and DVC, and nothing of them lost by down and up."""

import secrets
import shutil
from collections.abc import Iterator
from hashlib import sha256

import mlflow
import pytest

from stages.common.networks.description import WEIGHTS
from stages.common.registered.files import fetch_file
from stages.common.tracking.model_files import FOLDER
from stages.common.tracking.server import Server
from tests.support.clone import finished_clone
from tests.support.docker.compose import ComposeProject

pytestmark = pytest.mark.slow
SERVERS = {"mlflow", "postgres", "object-store"}


@pytest.fixture(scope="module")
def passwords() -> dict[str, str]:
    """As .env holds them; the first one is hard on whoever puts it into a URI."""
    return {
        "POSTGRES_PASSWORD": f"p@:/?#{secrets.token_hex(8)}",
        "S3_ACCESS_KEY_ID": secrets.token_hex(8),
        "S3_SECRET_ACCESS_KEY": secrets.token_hex(16),
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, passwords: dict[str, str]) -> Iterator[ComposeProject]:
    """A clone whose pipeline ran elsewhere and whose training has changed; the team's services are up."""
    lines = ["COMPOSE_PROFILES=team", *(f"{name}='{value}'" for name, value in passwords.items())]
    clone = finished_clone(tmp_path_factory, tmp_path_factory.mktemp("team") / "clone")
    clone.set_params({"training.seed": "7"})
    project = ComposeProject(clone, "\n".join(lines) + "\n")
    try:
        project.compose("up", "--detach", "--wait")
        yield project
    finally:
        project.close()


@pytest.fixture(scope="module")
def printed(project: ComposeProject) -> str:
    """What one runner printed: its variables, then a training. All data are pushed to the team's remote."""
    return in_one_runner(
        project,
        "env",
        "dvc remote add --local -d team s3://dvc",
        "dvc remote modify --local team endpointurl http://object-store:9000",
        "dvc remote modify --local team profile team",
        "dvc repro train",
        "dvc push",
    )


def in_one_runner(project: ComposeProject, *commands: str) -> str:
    return project.run("sh", "-ec", "\n".join(commands))


def sql(project: ComposeProject, statement: str) -> list[str]:
    """Rows of a statement, asked of PostgreSQL itself."""
    argv = ("psql", "--username=mlflow", "--dbname=mlflow", "--no-align", "--tuples-only", f"--command={statement}")
    return project.compose("exec", "--no-TTY", "--user=postgres", "postgres", *argv).stdout.split()


def stored(project: ComposeProject, bucket: str) -> set[str]:
    """Objects of a bucket, as files of the object store."""
    script = f"cd /data/{bucket} && find . -type f"
    return set(project.compose("exec", "--no-TTY", "object-store", "sh", "-c", script).stdout.split())


def test_all_services_are_healthy(project: ComposeProject) -> None:
    """Each by its own health check."""
    shown = project.compose("ps", "--format", "{{.Service}} {{.Health}}").stdout.split("\n")
    assert {line for line in shown if line} == {f"{name} healthy" for name in SERVERS}


def test_runs_are_in_postgres_and_artifacts_in_the_store(project: ComposeProject, printed: str) -> None:
    """Not in the server's own folder."""
    assert project.clone.ran(printed) == ["train@dice_ce-0"]
    run_id = project.clone.receipt()["run_id"]
    assert run_id in sql(project, "select run_uuid from runs where status = 'FINISHED'")
    assert any(f"/{run_id}/artifacts/model/" in name for name in stored(project, "mlflow"))
    assert project.compose("exec", "--no-TTY", "mlflow", "find", "/mlflow", "-type", "f").stdout == ""


def test_no_password_is_on_a_command_line_or_in_a_stage(
    project: ComposeProject, printed: str, passwords: dict[str, str]
) -> None:
    """Not in any server's processes; and the remote's keys are in no file of the checkout but .env."""
    script = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    for service in SERVERS:
        lines = project.compose("exec", "--no-TTY", service, "sh", "-c", script).stdout
        assert not any(value in lines for value in passwords.values()), service
    assert "MLFLOW_TRACKING_URI=" in printed
    assert "S3_" not in printed
    config = (project.clone.root / ".dvc" / "config.local").read_text()
    assert not any(value in config for value in passwords.values())


def wipe(project: ComposeProject) -> None:
    """Forget all data, as a colleague's fresh clone has none."""
    root = project.clone.root
    for folder in (".dvc/cache", ".dvc/tmp", "data/raw", "data/processed", "models/dice_ce", "metrics/training"):
        shutil.rmtree(root / folder)
    for file in (root / "metrics").glob("per_volume.*"):
        file.unlink()


@pytest.mark.usefixtures("printed")
def test_data_runs_and_models_survive_down_and_up(project: ComposeProject) -> None:
    """The store still has the network's bytes. And a wiped clone pulls everything back: nothing is left to run."""
    card, receipt = project.clone.card(), project.clone.receipt()
    before = {name: stored(project, name) for name in ("dvc", "mlflow")}
    project.compose("down")
    project.compose("up", "--detach", "--wait")
    assert {name: stored(project, name) for name in before} == before
    uri = f"http://127.0.0.1:{project.mlflow_port}"
    server = Server(client=mlflow.MlflowClient(uri), uri=uri)
    version = server.client.get_model_version(receipt["name"], receipt["version"])
    assert version.run_id == receipt["run_id"]
    # from this machine, which knows the MLflow server and not the store behind it
    weights = fetch_file(f"{FOLDER}/{WEIGHTS}", version.name, version.version, server, card["files"][WEIGHTS]["bytes"])
    assert sha256(weights).hexdigest() == card["files"][WEIGHTS]["sha256"]
    wipe(project)
    output = in_one_runner(project, "dvc pull", "dvc repro train")
    assert project.clone.ran(output) == []
    assert "up to date" in output
    assert project.clone.card() == card
    assert project.strangers() == []
