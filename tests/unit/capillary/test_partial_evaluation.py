"""`capillary evaluate --complete`: which cells count, what the stage gets, and where its results go."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from typer.testing import CliRunner

from capillary import partial_evaluation
from capillary.cli import app
from capillary.dvc.forecast import StageForecast
from capillary.integrity import lock_file
from capillary.lifetimes.stop import Stop
from capillary.partial_evaluation import evaluate_complete, missing_cells, refuse_all_or_none
from capillary.planning.plan import StagePlan
from stages.common.cell_name import CellName
from stages.common.errors import CapillaryError, DamagedError, DataError, ExitCode
from stages.common.machine.gpus import Gpu
from tests.support.parts import REPOSITORY
from tests.support.repository import start_repository
from tests.unit.capillary.report.in_process import run_here

CELLS = (CellName("dice_ce", 0), CellName("dice_ce", 1), CellName("cbdice", 0), CellName("dice_ce", 1, 7))
INTERVAL = {"mean": 0.5, "ci_low": None, "ci_high": None}
METRICS = {
    "partial": {"missing": [{"loss": "dice_ce", "fold": 1}], "volumes": {"dice_ce": 4}, "of_volumes": 8},
    "dice_ce": {"dsc": INTERVAL},
}


def stage(address: str, why: str | None = None) -> StageForecast:
    return StageForecast(address=address, runs=why is not None, why=why or "nothing changed since its last run")


def test_a_cell_is_missing_if_its_training_would_run() -> None:
    """Whatever card is there: it may be of previous params, which a failed training leaves in its place."""
    stages = [stage("preprocess"), stage("train@dice_ce-0"), stage("train@dice_ce-1", "modified: training.seed")]
    found = missing_cells([*stages, stage("train@cbdice-0", "has not run yet"), stage("evaluate", "follows")], CELLS)
    assert found == {CELLS[1]: "modified: training.seed", CELLS[2]: "has not run yet"}
    assert missing_cells([stage("train_seed@dice_ce-1-7", "has not run yet")], CELLS) == {CELLS[3]: "has not run yet"}


def test_neither_nothing_nor_everything_is_evaluated_in_part() -> None:
    """Each with what to do instead."""
    with pytest.raises(CapillaryError, match="every cell is complete") as raised:
        refuse_all_or_none(CELLS, {})
    assert (raised.value.code, "dvc repro evaluate" in raised.value.remedy) == (ExitCode.USAGE, True)
    with pytest.raises(DataError, match="no cell is complete") as none:
        refuse_all_or_none(CELLS, dict.fromkeys(CELLS, "has not run yet"))
    assert none.value.value == "train@dice_ce-0: has not run yet"
    refuse_all_or_none(CELLS, {CELLS[1]: "modified"})


def test_the_command_wants_to_be_told_that_a_part_will_do() -> None:
    """Exit code 2, and the command for all of it."""
    done = CliRunner().invoke(app, ["evaluate"])
    assert done.exit_code == 2
    assert "dvc repro evaluate" in done.output


class Evaluator:
    """An executor that writes the results itself and ends with `code`."""

    def __init__(self, scratch: Path, code: int = 0) -> None:
        self.scratch, self.code = scratch, code
        self.plans: list[StagePlan] = []

    def environment_id(self, *_: object) -> list[str]:
        return []

    def gpus(self, _settings: object) -> tuple[Gpu, ...]:
        return ()

    def execute(self, plan: StagePlan, _stop: object, publish: Callable[[Path], None]) -> int:
        self.plans.append(plan)
        (out,) = plan.outs
        (self.scratch / out).mkdir(parents=True)
        (self.scratch / out / "metrics.json").write_text(json.dumps(METRICS))
        if self.code == 0:
            publish(self.scratch)
        return self.code


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's graph with one loss on two folds, trained as far as DVC knows; evaluate has run before."""
    root = tmp_path_factory.mktemp("trained")
    for name in ("dvc.yaml", "configs", "stages", "samples"):
        (root / name).symlink_to(REPOSITORY / name)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["training"]["folds"] = [0, 1]
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    files = {"data/processed/manifest.parquet": "m", "metrics/metrics.json": "{}"}
    files |= {f"models/dice_ce/fold_{fold}.json": f"card {fold}" for fold in (0, 1)}
    files |= {f"metrics/training/dice_ce/fold_{fold}.csv": f"epoch,loss,validation_dsc\n{fold},," for fold in (0, 1)}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    start_repository(root)
    (root / ".gitignore").write_text("/data\n/models\n/metrics\n/reports\n/.capillary\n")
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    return root


@pytest.fixture
def workspace(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("CAPILLARY_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(trained)
    stages = [stage("train@dice_ce-0"), stage("train@dice_ce-1", "modified: training.seed"), stage("evaluate", "x")]
    monkeypatch.setattr(partial_evaluation, "forecast", lambda *_: stages)
    return trained


def test_the_stage_gets_the_complete_cells_and_its_results_lie_apart(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the card of a cell that would train again, nor the place of DVC's outs; the report is marked."""
    evaluator = Evaluator(workspace / ".capillary" / "scratch")
    monkeypatch.setattr(partial_evaluation, "choose_executor", lambda _settings: evaluator)
    read: list[Path] = []
    monkeypatch.setattr(partial_evaluation, "refuse_damaged", lambda files, *_: read.extend(one.file for one in files))
    run_here(monkeypatch)
    assert evaluate_complete(workspace, Stop()) == 0
    (plan,) = evaluator.plans
    assert [dep.name for dep in plan.deps if dep.name.startswith("models")] == ["models/dice_ce/fold_0.json"]
    assert read == [workspace / "data/processed/manifest.parquet", workspace / "models/dice_ce/fold_0.json"]
    assert (plan.argv, plan.outs) == (("--without", "dice_ce", "1", "first"), ("metrics/partial",))
    assert (plan.stage, plan.address) == ("evaluate", "evaluate@partial")
    outs = {Path(out.fs_path) for out in Repo(str(workspace)).index.outs}
    assert not any(workspace / "metrics/partial" in (out, *out.parents) for out in outs)
    assert not any((workspace / "metrics/partial").is_relative_to(out) for out in outs)
    assert json.loads((workspace / "metrics/partial/metrics.json").read_text()) == METRICS
    assert (workspace / "metrics/metrics.json").read_text() == "{}"
    assert (
        r"This report is partial: dice\_ce fold 1 is missing" in (workspace / "reports/partial/report.md").read_text()
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "without dice_ce fold 1: modified: training.seed" in said


def test_a_failure_leaves_former_results_and_has_the_stages_code(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is published."""
    (workspace / "metrics/partial").mkdir(exist_ok=True)
    (workspace / "metrics/partial/metrics.json").write_text("former")
    monkeypatch.setattr(partial_evaluation, "choose_executor", lambda _settings: Evaluator(tmp_path, code=8))
    assert evaluate_complete(workspace, Stop()) == 8
    assert (workspace / "metrics/partial/metrics.json").read_text() == "former"


def test_a_record_that_is_cut_makes_no_cell_missing(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC would take it for a shorter one."""
    monkeypatch.setattr(lock_file, "_PAUSES_S", ())
    lock = workspace / "dvc.lock"
    lock.write_text("schema: '2.0'\nstages:\n  train@dice_ce-0:\n    cmd: x")
    try:
        with pytest.raises(DamagedError, match=r"dvc\.lock ends in the middle"):
            evaluate_complete(workspace, Stop())
    finally:
        lock.unlink()
