"""The entrypoint of the release image: mounts in, one experiment, results out, whatever its end."""

import fcntl
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

CONFIG = "configs/experiments/x.yaml"


class Container:
    """The entrypoint with mounts in a test's folder; `run` notes what was started and ends with `code`."""

    def __init__(self, release: ModuleType, folder: Path) -> None:
        self.release, self.code = release, 0
        for name in ("code/configs/experiments", "code/.dvc", "code/stages", "data", "artifacts", "runs"):
            (folder / name).mkdir(parents=True)
        (folder / "code" / CONFIG).write_text("experiment: {name: x}\n")
        (folder / "code/stages/train.py").write_text("first\n")
        self.places = release.Places(
            code=folder / "code", data=folder / "data", artifacts=folder / "artifacts", runs=folder / "runs"
        )
        self.argv: list[str] = []
        self.variables: dict[str, str] = {}

    @property
    def workspace(self) -> Path:
        workspace: Path = self.places.workspace
        return workspace

    def run(self, argv: Sequence[str], variables: Mapping[str, str], folder: Path) -> int:
        self.argv, self.variables = list(argv), dict(variables)
        assert folder == self.workspace
        (folder / "metrics").mkdir(exist_ok=True)
        (folder / "metrics" / "metrics.json").write_text("{}")
        return self.code

    def start(self, *argv: str) -> int:
        code: int = self.release.main(argv or ["--config", CONFIG], self.places, self.run)
        return code

    def tree(self) -> Any:
        """The experiment file that was started."""
        return yaml.safe_load(Path(self.argv[self.argv.index("--config") + 1]).read_text())


@pytest.fixture
def container(load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    load("runner/supervise.py")  # the image has both folders' programs in one
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Container(load("release/release.py"), tmp_path)


@pytest.mark.parametrize("code", [0, 9, 143])
def test_the_exit_code_is_the_experiment_s_and_results_come_out_whatever_it_is(
    container: Container, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """So a task that was stopped shows what it had, and says where."""
    container.code = code
    assert container.start("--config", CONFIG, "--debug") == code
    assert container.argv == ["capillary", "experiment", "--config", str(container.workspace / CONFIG), "--debug"]
    assert (container.places.artifacts / "metrics" / "metrics.json").read_text() == "{}"
    assert f"results are in {container.places.artifacts / 'metrics'}\n" in capsys.readouterr().out
    assert container.variables["CAPILLARY_EXECUTOR"] == "process"
    assert container.variables["MLFLOW_TRACKING_URI"] == f"sqlite:///{container.places.runs}/mlflow.db"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("experiment: {name: x}", "DATA"),
        ("experiment: {name: x}\ningest: {source: samples/phantom}", "DATA"),
        ("experiment: {name: x}\ningest: {source: DATA/mouse}", "DATA/mouse"),
        ("experiment: {name: x}\ningest: {source: 's3://lab/mice'}", "s3://lab/mice"),
    ],
)
def test_what_is_mounted_is_the_source(container: Container, text: str, source: str) -> None:
    """Unless the file names a folder in it, or an address: the mount may hold the experiment file alone."""
    data = str(container.places.data)
    (container.places.data / "mine.yaml").write_text(text.replace("DATA", data))
    container.start("--config", f"{data}/mine.yaml")
    assert container.tree() == {"experiment": {"name": "x"}, "ingest": {"source": source.replace("DATA", data)}}


def test_a_server_that_the_user_names_is_used(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    container.start()
    assert container.variables["MLFLOW_TRACKING_URI"] == "https://mlflow.example"


def test_the_workspace_survives_and_follows_the_image(container: Container) -> None:
    """Cache and results stay, a module that a new image lacks goes, locks of a killed container are removed."""
    container.start()
    workspace = container.workspace
    (workspace / ".dvc/tmp").mkdir()
    for name in (".dvc/tmp/rwlock", ".dvc/tmp/lock", ".git/index.lock", "dvc.lock"):
        (workspace / name).touch()
    (workspace / "stages/train.py").write_text("changed by nobody\n")
    container.start()
    assert not any((workspace / name).exists() for name in (".dvc/tmp/rwlock", ".dvc/tmp/lock", ".git/index.lock"))
    assert (workspace / "dvc.lock").exists()
    (container.places.code / "stages/train.py").rename(container.places.code / "stages/other.py")
    container.start()
    assert [file.name for file in (workspace / "stages").iterdir()] == ["other.py"]
    log = subprocess.run(["git", "log", "--format=%s"], cwd=workspace, capture_output=True, text=True, check=True)
    assert log.stdout.count("code of the image") == 2


def test_links_do_not_come_out(container: Container) -> None:
    """A report's folder is copied as files."""
    reports = container.workspace / "reports"
    container.start()
    reports.mkdir()
    (reports / "report.html").write_text("new")
    (reports / "passwd").symlink_to("/etc/passwd")
    (container.places.artifacts / "reports").mkdir()
    (container.places.artifacts / "reports" / "old.html").touch()
    container.start()
    assert [file.name for file in (container.places.artifacts / "reports").iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--config", "configs/experiments/y.yaml"], "name one of: configs/experiments/x.yaml"),
        (["--config", "DATA/list.yaml"], "has no sections"),
        (["--config", "DATA/broken.yaml"], "cannot be read"),
        ([], "--config"),
    ],
)
def test_a_wrong_file_is_refused(
    container: Container, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    """With exit code 2."""
    data = container.places.data
    (data / "list.yaml").write_text("- a\n")
    (data / "broken.yaml").write_text("a: [\n")
    with pytest.raises(SystemExit) as ended:
        container.release.main([each.replace("DATA", str(data)) for each in argv], container.places, container.run)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_two_containers_do_not_share_a_folder(container: Container, capsys: pytest.CaptureFixture[str]) -> None:
    """The second is refused before it changes anything."""
    with (container.places.artifacts / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemExit):
            container.start()
    assert "another container is using" in capsys.readouterr().err
    assert not container.workspace.exists()


def test_a_mount_that_cannot_be_written_is_said(
    container: Container, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy names both ways."""
    monkeypatch.setattr("os.access", lambda folder, _: folder != container.places.runs)
    with pytest.raises(SystemExit):
        container.start()
    said = capsys.readouterr().err
    assert "runs cannot be written by uid" in said
    assert "--user UID:GID" in said


def test_it_runs_in_a_container_only(container: Container) -> None:
    """Elsewhere it would end programs that are not its own."""
    with pytest.raises(SystemExit):
        container.release.require_container()
