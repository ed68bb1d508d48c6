"""What a user reads before and after an experiment."""

from pathlib import Path

import pytest

from capillary.dvc.forecast import StageForecast
from capillary.experiments.cells import Outcome, Slot
from capillary.experiments.config import ExperimentConfig
from capillary.experiments.sections import ExperimentHead, Sections
from capillary.experiments.show import show_plan, tell_end

CONFIG = ExperimentConfig(sections=Sections(experiment=ExperimentHead(name="v")), overrides={})
SLOTS = [Slot(name=name, environment={}) for name in ("GPU 0", "GPU 1")]


def test_the_plan_names_each_stage_with_what_becomes_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Run or skip and why, in the words of the forecast; then how many run, and where."""
    plan = [
        StageForecast(address="ingest", runs=False, why="nothing changed"),
        StageForecast(address="train@a-0", runs=True, why="changed deps: x[0]"),
        StageForecast(address="evaluate", runs=True, why="follows train@a-0"),
    ]
    show_plan(CONFIG, plan, SLOTS)
    title, *lines, end = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert title.strip() == "v: what would run"
    assert rows == [
        ["ingest", "skip", "nothing changed"],
        ["train@a-0", "run", "changed deps: x[0]"],
        ["evaluate", "run", "follows train@a-0"],
    ]
    assert end == "2 of 3 stages would run; cells side by side on: GPU 0, GPU 1"


def outcome(address: str, code: int) -> Outcome:
    return Outcome(address=address, code=code, ran=True, seconds=1, log=Path("logs") / address)


def test_a_complete_experiment_is_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    """In one line."""
    tell_end("v-2", [outcome("train@a-0", 0)], 0)
    assert capsys.readouterr().out == "experiment v-2 is complete; compare with others: dvc exp show\n"


def test_an_incomplete_one_names_the_cells_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its code and log, and the command that resumes; the others are not mentioned."""
    tell_end("v", [outcome("train@a-0", 0), outcome("train@a-1", 3), outcome("train@a-2", 137)], 10)
    first, second, look, *_, end = "".join(capsys.readouterr().out).splitlines()
    assert first == "train@a-1 ended with exit code 3: logs/train@a-1"
    assert second == "train@a-2 ended with exit code 137: logs/train@a-2"
    assert "capillary evaluate --complete" in look
    assert end.startswith("experiment v is not complete; repeat the same command")


def test_where_every_cell_failed_there_is_nothing_to_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor where none of them did, and another stage failed."""
    tell_end("v", [outcome("train@a-0", 3)], 10)
    tell_end("v", [outcome("train@a-0", 0)], 4)
    assert "--complete" not in capsys.readouterr().out
