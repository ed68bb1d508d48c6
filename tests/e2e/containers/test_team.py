"""The profile `team`: PostgreSQL and an S3 store behind MLflow and DVC, and nothing of them lost by down and up."""

import secrets
import shutil
from collections.abc import Iterator

import mlflow
import pytest

from tests.support.clone import TINY, Clone
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
    """The team's services up, the pipeline run, its data pushed to the team's remote, as docs/compose.md tells."""
    lines = ["COMPOSE_PROFILES=team", *(f"{name}='{value}'" for name, value in passwords.items())]
    clone = Clone(tmp_path_factory.mktemp("team") / "clone")
    clone.set_params(TINY)
    project = ComposeProject(clone, "\n".join(lines) + "\n")
    try:
        project.compose("up", "--detach", "--wait")
        project.run("dvc", "remote", "add", "--local", "-d", "team", "s3://dvc")
        project.run("dvc", "remote", "modify", "--local", "team", "endpointurl", "http://object-store:9000")
        project.run("dvc", "remote", "modify", "--local", "team", "profile", "team")
        output = project.run("dvc", "repro")
        assert project.clone.ran(output) == ["ingest", "preprocess", "train@dice_ce-0", "evaluate"]
        project.run("dvc", "push")
        yield project
    finally:
        project.close()


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


def test_runs_are_in_postgres_and_artifacts_in_the_store(project: ComposeProject) -> None:
    """Not in the server's own folder."""
    run_id = project.clone.receipt()["run_id"]
    assert run_id in sql(project, "select run_uuid from runs where status = 'FINISHED'")
    assert any(f"/{run_id}/artifacts/model/" in name for name in stored(project, "mlflow"))
    assert project.compose("exec", "--no-TTY", "mlflow", "find", "/mlflow", "-type", "f").stdout == ""


def test_no_password_is_on_a_command_line_or_in_a_stage(project: ComposeProject, passwords: dict[str, str]) -> None:
    """Not in any server's processes; and the remote's keys are in no file of the checkout but .env."""
    script = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    for service in SERVERS:
        lines = project.compose("exec", "--no-TTY", service, "sh", "-c", script).stdout
        assert not any(value in lines for value in passwords.values()), service
    assert "S3_" not in project.run("env")
    config = (project.clone.root / ".dvc" / "config.local").read_text()
    assert not any(value in config for value in passwords.values())


def wipe(project: ComposeProject) -> None:
    """Forget all data, as a colleague's fresh clone has none."""
    root = project.clone.root
    for folder in (".dvc/cache", ".dvc/tmp", "data/raw", "data/processed", "models/dice_ce", "metrics/training"):
        shutil.rmtree(root / folder)
    for file in (root / "metrics").glob("per_volume.*"):
        file.unlink()


def test_data_runs_and_models_survive_down_and_up(project: ComposeProject) -> None:
    """And a wiped clone pulls everything back: nothing is left to run."""
    card, receipt = project.clone.card(), project.clone.receipt()
    before = {name: stored(project, name) for name in ("dvc", "mlflow")}
    project.compose("down")
    project.compose("up", "--detach", "--wait")
    assert {name: stored(project, name) for name in before} == before
    registry = mlflow.MlflowClient(f"http://127.0.0.1:{project.mlflow_port}")
    assert registry.get_model_version(receipt["name"], receipt["version"]).run_id == receipt["run_id"]
    wipe(project)
    project.run("dvc", "pull")
    assert project.clone.ran(project.run("dvc", "repro")) == []
    assert project.clone.card() == card
    assert project.strangers() == []
