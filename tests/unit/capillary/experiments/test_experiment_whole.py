"""A whole experiment with a shell script in DVC's place: what runs in which order, and what each end leaves."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from capillary.dvc.forecast import StageForecast
from capillary.experiments import run
from stages.common.errors import ExitCode, ServiceError
from tests.unit.capillary.experiments.workspace import CHANGED, UNCHANGED, Workspace

ADDRESSES = ["train@cbdice-1", "train@dice_ce-1"]
LIST = "exp list --all-commits --name-only"
BEFORE, AFTER = "--wait-for-lock repro preprocess", "--wait-for-lock repro evaluate"
SAVE = "--wait-for-lock exp save --force --name v"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The metrics that were shown."""
    found: list[Path] = []
    monkeypatch.setattr(run, "show_metrics", found.append)
    return found


def test_an_experiment_runs_its_stages_in_order(workspace: Workspace, shown: list[Path]) -> None:
    """What comes before the cells, all cells, what comes after; then the result is saved under its name."""
    assert workspace.run() == 0
    before, after = workspace.dvc.calls[:2], workspace.dvc.calls[-2:]
    assert (before, after) == ([LIST, BEFORE], [AFTER, SAVE])
    assert workspace.cell_calls == ADDRESSES
    assert len(workspace.dvc.calls) == 6
    assert shown == [workspace.root]
    assert workspace.is_finished()


def test_every_stage_runs_in_the_workspace_under_the_experiments_name(workspace: Workspace, shown: list[Path]) -> None:
    """With the overrides in params.yaml and the settings of the file's sections."""
    workspace.dvc.does('[ "$1" = exp ] || echo "$PWD $DVC_EXP_NAME $CAPILLARY_MONITOR_INTERVAL_S" >> said')
    workspace.write({"max_epochs": 7, "warmup_epochs": 1})
    assert workspace.run() == 0
    assert set((workspace.root / "said").read_text().splitlines()) == {f"{workspace.root} v 10"}
    training = yaml.safe_load((workspace.root / "params.yaml").read_text())["training"]
    assert (training["max_epochs"], training["folds"]) == (7, [1])


@pytest.mark.parametrize(("asked", "of_cells"), [("warning", "info"), ("debug", "debug"), ("", "info")])
def test_cells_tell_their_epochs_whatever_is_shown(
    workspace: Workspace, shown: list[Path], monkeypatch: pytest.MonkeyPatch, asked: str, of_cells: str
) -> None:
    """Their lines are read for the view and the report. The stages before and after print what was asked for."""
    monkeypatch.setenv("CAPILLARY_LOG_LEVEL", asked)
    workspace.dvc.does('[ "$1" = exp ] || echo "${address:-none} $CAPILLARY_LOG_LEVEL" >> said')
    assert workspace.run() == 0
    said = [line.partition(" ")[::2] for line in (workspace.root / "said").read_text().splitlines()]
    assert {level for address, level in said if address.startswith("train")} == {of_cells}
    assert {level for address, level in said if not address.startswith("train")} == {asked}


def test_the_report_hears_what_only_the_runner_knows(workspace: Workspace, shown: list[Path]) -> None:
    """Description, command, profile, time, and how each cell ended."""
    workspace.dvc.does('[ -n "$address" ] && echo "Running stage \'$address\':"; true')
    workspace.run()
    ((root, name, facts),) = workspace.reports
    assert (root, name) == (workspace.root, "v")
    assert facts.description == "two losses"
    assert facts.command == f"./just experiment --config '{workspace.file}'"
    assert facts.profile == "cpu"
    assert facts.environment is not None
    assert facts.environment["profile"] == "cpu: asked for"
    assert facts.started is not None
    assert facts.wall_s is not None
    assert facts.started.tzinfo is not None
    assert facts.wall_s > 0
    assert facts.cells is not None
    assert [(cell.loss, cell.fold, cell.status) for cell in facts.cells] == [
        ("cbdice", 1, "trained"),
        ("dice_ce", 1, "trained"),
    ]


def test_a_rehearsal_is_repeated_as_one(workspace: Workspace) -> None:
    """The command in the report has the flag, and fewer folds make fewer cells."""
    workspace.write({"folds": [0, 1, 2], "losses": ["dice_ce"]})
    experiment = workspace.read(debug=True)
    assert list(experiment.cells) == ["train@dice_ce-0", "train@dice_ce-1"]
    assert run._command(experiment) == f"./just experiment --config '{workspace.file}' --debug"


def test_a_name_that_another_experiment_has_is_not_taken_again(workspace: Workspace, shown: list[Path]) -> None:
    """The next number: for the stages, which hand it to MLflow, for DVC and in the report."""
    workspace.dvc.does('echo "$DVC_EXP_NAME" >> said; [ "$2" = list ] && printf \'other\\nv\\n\'; true')
    assert workspace.run() == 0
    assert workspace.dvc.calls[-1] == f"{SAVE}-2"
    assert workspace.reports[0][1] == "v-2"
    assert set((workspace.root / "said").read_text().split()) == {"v-2"}


def test_a_complete_experiment_of_which_nothing_changed_keeps_its_name(workspace: Workspace, shown: list[Path]) -> None:
    """A change to code or data makes another one of it."""
    workspace.run()
    workspace.dvc.does('[ "$2" = list ] && echo v; true')
    workspace.run(UNCHANGED)
    workspace.run(CHANGED)
    assert [name for _, name, _ in workspace.reports] == ["v", "v", "v-2"]


def test_only_what_changed_is_run(workspace: Workspace, shown: list[Path]) -> None:
    """A cell of which the forecast says that nothing changed costs no DVC of its own; the end is asked of all."""
    workspace.run()
    before = len(workspace.dvc.calls)
    fresh = [
        StageForecast(address=address, runs=False, why="nothing changed") for address in ("preprocess", ADDRESSES[0])
    ]
    assert workspace.run([*fresh, StageForecast(address=ADDRESSES[1], runs=True, why="changed")]) == 0
    cell = f"--wait-for-lock repro --single-item {ADDRESSES[1]}"
    assert workspace.dvc.calls[before:] == [LIST, cell, AFTER, SAVE]
    _, _, facts = workspace.reports[-1]
    assert [(each.loss, each.status, each.wall_s) for each in (facts.cells or ())[:1]] == [("cbdice", "up to date", 0)]


def test_no_cell_runs_after_a_failure_before_them(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """DVC's code, as a shell reports it; there is nothing to report, and the same command resumes."""
    workspace.dvc.does('[ "$3" = preprocess ] && kill -9 $$; true')
    assert workspace.run() == 137
    assert workspace.dvc.calls == [LIST, BEFORE]
    assert workspace.reports == []
    assert not workspace.is_finished()
    assert "experiment v is not complete" in capsys.readouterr().out


def test_a_report_that_cannot_be_written_costs_its_code_alone(
    workspace: Workspace, shown: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The experiment is saved and finished; what went wrong, and what to do, is said."""
    workspace.refused = ServiceError("the image cannot be built", remedy="start the daemon")
    assert workspace.run() == ExitCode.SERVICE
    assert workspace.is_finished()
    assert "error: the image cannot be built" in capsys.readouterr().err
    workspace.dvc.does('[ "$address" != train@cbdice-1 ]')
    assert workspace.run() == ExitCode.CELLS_FAILED


def test_a_failed_cell_is_reported_and_nothing_is_evaluated(workspace: Workspace) -> None:
    """The other cells train; the exit code says that cells failed."""
    workspace.dvc.does('[ "$address" != train@cbdice-1 ]')
    assert workspace.run() == ExitCode.CELLS_FAILED
    assert workspace.cell_calls == ADDRESSES
    assert not {AFTER, SAVE} & set(workspace.dvc.calls)
    ((_, _, facts),) = workspace.reports
    assert [cell.status for cell in facts.cells or ()] == ["failed", "up to date"]
    assert not workspace.is_finished()


def test_without_a_single_good_cell_there_is_no_report(workspace: Workspace) -> None:
    """A previous one stays."""
    workspace.dvc.does('[ -z "$address" ]')
    assert workspace.run() == ExitCode.CELLS_FAILED
    assert workspace.reports == []


@pytest.mark.parametrize("step", ["evaluate", "save"])
def test_a_failure_after_the_cells_is_not_the_end(workspace: Workspace, shown: list[Path], step: str) -> None:
    """Its code is the experiment's, which is not complete."""
    workspace.dvc.does(f'case "$*" in *{step}*) exit 7;; esac')
    assert workspace.run() == 7
    assert workspace.dvc.calls[-1] == {"evaluate": AFTER, "save": SAVE}[step]
    assert not workspace.is_finished()
    assert shown == []


@pytest.fixture
def harmless_sigterm() -> Iterator[None]:
    """Outside of the experiment SIGTERM does nothing to this process."""
    former = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, former)


@pytest.mark.usefixtures("harmless_sigterm")
def test_a_request_to_stop_ends_the_experiment_with_its_code(workspace: Workspace) -> None:
    """SIGTERM while cells run: whatever becomes of them, nothing is evaluated."""
    workspace.dvc.does('[ -n "$address" ] && kill -TERM $PPID && sleep 5; true')
    assert workspace.run() == 143
    assert not {AFTER, SAVE} & set(workspace.dvc.calls)
    assert not workspace.is_finished()
