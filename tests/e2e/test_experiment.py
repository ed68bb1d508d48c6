"""One command from a fresh clone: an experiment file to a report, whatever happens on the way."""

import contextlib
import json
import random
import re
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.support.chaos import rounds
from tests.support.clone import TINY, Clone, prepared_clone
from tests.support.processes import kill_family, processes_in
from tests.support.warm import warm_environment

pytestmark = pytest.mark.slow
KILLS = rounds(1, by_hand=20)
FILE = "configs/experiments/tiny.yaml"


def experiment(clone: Clone, **training: object) -> tuple[str, ...]:
    """The command for a small experiment of two folds, whose file is written first."""
    tree: dict[str, dict[str, object]] = {"experiment": {"name": "tiny", "description": "two <folds> & little"}}
    for key, value in {**TINY, "training.folds": "[0, 1]"}.items():
        section, name = key.split(".")
        tree.setdefault(section, {})[name] = yaml.safe_load(value)
    tree["training"] |= training
    (clone.root / FILE).write_text(yaml.safe_dump(tree))
    return ("capillary", "experiment", "--config", FILE)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, str]:
    """A clone in which the experiment ran without a disturbance, and what it printed."""
    clone = Clone(tmp_path_factory.mktemp("done") / "clone")
    return clone, clone.run(*experiment(clone)).stdout


def test_it_runs_all_and_says_what_it_does(done: tuple[Clone, str]) -> None:
    """Preflight, two cells, evaluation, report; one DVC experiment under the file's name."""
    clone, output = done
    for words in ("pass git", "train@dice_ce-0 done", "train@dice_ce-1 done", "experiment tiny is complete"):
        assert words in output
    assert re.search(r"train@dice_ce-0 epoch 2/2 loss \d", output)
    assert len(clone.training_runs()) == 2
    assert {run.data.tags["capillary.experiment"] for run in clone.training_runs()} == {"tiny"}
    assert clone.run("dvc", "exp", "list", "--name-only").stdout.split() == ["tiny"]


def test_the_report_holds_the_numbers_of_metrics_json(done: tuple[Clone, str]) -> None:
    """And what the user wrote in the file, as text."""
    clone, _ = done
    folder = clone.root / "reports" / "tiny"
    page, plain = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    for metric, digits in (("dsc", 3), ("centreline_dsc", 3)):
        mean = clone.metrics()["dice_ce"][metric]["mean"]
        assert f"{mean:.{digits}f}" in page
        assert f"{mean:.{digits}f}" in plain
    assert "two &lt;folds&gt; &amp; little" in page
    assert FILE in page


def test_the_same_command_again_has_nothing_to_do(done: tuple[Clone, str]) -> None:
    """No stage runs, no run is added, the experiment keeps its name."""
    clone, _ = done
    output = clone.run(*experiment(clone)).stdout
    assert clone.ran(output) == []
    assert "train@dice_ce-1 up to date" in output
    assert len(clone.training_runs()) == 2
    assert clone.run("dvc", "exp", "list", "--name-only").stdout.split() == ["tiny"]


def test_a_dry_run_tells_what_would_run_and_changes_nothing(done: tuple[Clone, str]) -> None:
    """Skipped where nothing changed; with a reason where something did."""
    clone, _ = done
    before = (clone.root / "params.yaml").read_bytes(), (clone.root / "dvc.lock").read_bytes()
    output = clone.run(*experiment(clone, learning_rate=0.003), "--dry-run", COLUMNS="200").stdout
    rows = {line.split()[1]: line for line in output.splitlines() if line.startswith("│")}
    assert " skip " in rows["preprocess"]
    assert " run " in rows["train@dice_ce-0"]
    assert "training.learning_rate" in rows["train@dice_ce-0"]
    assert "follows train@dice_ce-0, train@dice_ce-1" in rows["evaluate"]
    assert "3 of 5 stages would run" in output
    assert ((clone.root / "params.yaml").read_bytes(), (clone.root / "dvc.lock").read_bytes()) == before


@pytest.mark.parametrize(
    ("training", "named"),
    [({"max_epoch": 3}, "did you mean `training.max_epochs`"), ({"learning_rate": "fast"}, "`learning_rate`")],
)
def test_a_mistake_in_the_file_stops_it_before_anything_runs(
    done: tuple[Clone, str], training: dict[str, object], named: str
) -> None:
    """With the key, and its exit code."""
    clone, _ = done
    failed = clone.run(*experiment(clone, **training), check=False)
    assert failed.returncode == 3
    assert named in failed.stderr
    assert "pass git" not in failed.stdout


def start(argv: tuple[str, ...], clone: Clone, environment: dict[str, str], log: Path) -> psutil.Popen:
    """The experiment in the background, which adds what it prints to `log`."""
    with log.open("ab") as stream:
        return psutil.Popen(argv, cwd=clone.root, env=environment, stdout=stream, stderr=stream, start_new_session=True)


def _training(process: psutil.Popen, clone: Clone, fold: int) -> psutil.Process:
    """The stage of the experiment `process` that trains `fold`, as soon as it runs."""
    while process.poll() is None:
        for one in processes_in(clone.root):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                words = one.cmdline()
                if "stages.train" in words and words[-2:] == ["--fold", str(fold)]:
                    return one
        time.sleep(0.05)
    raise AssertionError(f"the experiment ended with {process.returncode} before fold {fold} was trained")


def test_killed_at_any_moment_it_ends_with_the_same_models(
    done: tuple[Clone, str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """First a training is killed, which ends no other; then everything is, again and again.

    The same command ends bit-equal, and nothing is trained twice.
    """
    reference, _ = done
    clone, log = prepared_clone(tmp_path_factory, tmp_path / "clone"), tmp_path / "log"
    argv = experiment(clone)
    process = start(argv, clone, warm_environment(), log)
    _training(process, clone, fold=1).kill()
    _assert_a_cell_failed(clone, process.wait(), log.read_text())
    draw = random.Random(4)
    for number in range(KILLS):
        process = start(argv, clone, clone.environment(), log)
        deadline = time.monotonic() + draw.uniform(1, 30)
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        assert process.poll() in (None, 0), (number, log.read_text()[-3000:])
        kill_family(process)
    output = clone.run(*argv).stdout
    assert "train@dice_ce-0 up to date" in output
    for fold in (0, 1):
        assert clone.card(fold=fold)["weights_sha256"] == reference.card(fold=fold)["weights_sha256"]
        assert clone.receipt(fold=fold)["version"] in ("1", "2")
    assert clone.metrics() == reference.metrics()
    assert len(clone.training_runs()) == 2
    versions = clone.client().search_model_versions("name='capillary-dice_ce'")
    assert len(versions) == 2
    assert [clone.doubled_points(run) for run in clone.training_runs()] == [[], []]


def _assert_a_cell_failed(clone: Clone, code: int, output: str) -> None:
    """Fold 0 is trained and can be looked at; the exit code says that not all is well."""
    assert code == 10, output
    assert "train@dice_ce-1 failed" in output
    assert "SIGKILL" in output.split("train@dice_ce-1 failed")[1]
    assert "train@dice_ce-0 done" in output
    assert not (clone.root / "metrics" / "metrics.json").exists()
    assert "capillary evaluate --complete" in output
    clone.run("capillary", "evaluate", "--complete")
    partial = json.loads((clone.root / "metrics" / "partial" / "metrics.json").read_text())
    assert partial["partial"]["missing"] == [{"loss": "dice_ce", "fold": 1}]
    assert "This report is partial" in (clone.root / "reports" / "partial" / "report.md").read_text()
    assert not (clone.root / "metrics" / "metrics.json").exists()
