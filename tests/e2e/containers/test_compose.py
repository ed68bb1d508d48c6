"""A machine with nothing but Docker: an experiment from a fresh clone through compose, in sibling containers."""

from collections.abc import Iterator

import mlflow
import pytest

from tests.support.clone import TINY, Clone, finished_clone
from tests.support.docker.compose import ComposeProject

pytestmark = pytest.mark.slow
METRICS = "metrics/metrics.json"
EXPERIMENT = ("--config", "configs/experiments/smoke.yaml")  # its values are those of TINY


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeProject]:
    """A clone in which `docker compose run --rm dvc-runner capillary experiment …` was the first command."""
    clone = Clone(tmp_path_factory.mktemp("compose") / "clone")
    clone.set_params(TINY)
    project = ComposeProject(clone)
    try:
        output = project.run("capillary", "experiment", *EXPERIMENT)
        assert clone.ran(output) == ["ingest", "preprocess", "evaluate"]
        assert "train@dice_ce-0 done" in output
        assert "experiment smoke is complete" in output
        yield project
    finally:
        project.close()


def experiments(project: ComposeProject) -> dict[str, str]:
    """Training runs that the compose file's server holds: run id → experiment."""
    client = mlflow.MlflowClient(f"http://127.0.0.1:{project.mlflow_port}")
    found = client.get_experiment_by_name("capillary")
    assert found is not None
    runs = client.search_runs([found.experiment_id], filter_string="tags.`capillary.stage` LIKE 'train%'")
    return {run.info.run_id: run.data.tags.get("capillary.experiment", "") for run in runs}


def test_the_whole_pipeline_ran(project: ComposeProject) -> None:
    """Metrics are there, the model is in the server's registry, the stages ran in containers and left none."""
    assert set(project.clone.metrics()["dice_ce"]) >= {"dsc", "centreline_dsc"}
    receipt = project.clone.receipt()
    assert experiments(project) == {receipt["run_id"]: "smoke"}
    registry = mlflow.MlflowClient(f"http://127.0.0.1:{project.mlflow_port}")
    assert registry.get_model_version(receipt["name"], receipt["version"]).run_id == receipt["run_id"]
    logs = {path.name.rsplit("-", 1)[0] for path in (project.clone.root / ".capillary" / "logs").iterdir()}
    assert any(name.startswith("train@dice_ce-0") for name in logs)
    assert project.stage_containers() == []


def test_the_report_names_the_command_that_repeats_it(project: ComposeProject) -> None:
    """It was written in a sibling, too."""
    page = (project.clone.root / "reports" / "smoke" / "report.html").read_text()
    assert f"./just experiment {' '.join(EXPERIMENT)}" in page


def test_a_second_run_skips_everything(project: ComposeProject) -> None:
    """Another runner, the same checkout: for `dvc repro` nothing is left to run."""
    output = project.run("dvc", "repro")
    assert project.clone.ran(output) == []
    assert "up to date" in output


def test_the_metrics_are_those_of_plain_processes(
    project: ComposeProject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Byte for byte: `dvc repro` in the runner, and on a machine with Python alone."""
    processes = finished_clone(tmp_path_factory, tmp_path_factory.mktemp("processes") / "clone")
    assert (project.clone.root / METRICS).read_bytes() == (processes.root / METRICS).read_bytes()


def test_all_files_belong_to_the_owner_of_the_checkout(project: ComposeProject) -> None:
    """Whose uid nobody exported."""
    assert project.strangers() == []


def test_mlflow_has_the_figures_of_the_dashboard(project: ComposeProject) -> None:
    """Asked as Prometheus asks, by the service's name."""
    ask = "import urllib.request as r; print(r.urlopen('http://mlflow:5000/metrics').read().decode())"
    figures = project.compose("exec", "--no-TTY", "mlflow", "python", "-c", ask).stdout
    for name in ("mlflow_http_request_total", "mlflow_http_request_duration_seconds_bucket"):
        assert f"\n{name}{{" in figures


def test_runs_survive_down_and_up(project: ComposeProject) -> None:
    """`docker compose down` removes containers; the runs are in a volume."""
    before = experiments(project)
    project.compose("down")
    project.compose("up", "--detach", "--wait")
    assert experiments(project) == before
