"""The tables on top and at the end: what is known of a run, and from where."""

import dataclasses
import datetime
from typing import Any

import pytest

from stages.common.requests.report import CellFact, RunFacts
from stages.report.model import TrackedRun
from stages.report.pages.summary import MEMORY, TrainingRow, environment_rows, tiles, training_rows
from tests.unit.stages.report.made import made_report

EVALUATION = TrackedRun(run_id="e" * 8, loss=None, fold=None, status="FINISHED", seconds=9.0, url=None, samples={})


def test_a_training_row_joins_card_run_and_runner() -> None:
    """Epochs, precision and model of the card, time and memory of the run, the status that the runner saw."""
    facts = RunFacts(cells=(CellFact(loss="dice_ce", fold=0, status="trained", wall_s=100.0),))
    first, second, *_ = training_rows(made_report(facts=facts))
    assert first == TrainingRow(
        name="dice_ce fold 0",
        status="trained",
        epochs="3",
        seconds=100.0,
        memory="0.9 GB",
        precision="fp32",
        model="capillary-dice_ce v7",
        run_id="dice_ce0" * 4,
        url="https://mlflow.example.org/#/experiments/1/runs/x",
    )
    assert (second.name, second.status, second.seconds) == ("dice_ce fold 1", "finished", 75.0)


def test_a_cell_that_was_up_to_date_has_the_time_of_its_run() -> None:
    """A runner that did not time it says nothing."""
    facts = RunFacts(cells=(CellFact(loss="dice_ce", fold=0, status="up to date"),))
    assert training_rows(made_report(facts=facts))[0].seconds == 75.0


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, "trained"),
        ({"node": "n2", "waited_s": 34.0}, "trained on n2, waited 34 s"),
        ({"node": "n2", "waited_s": 34.0, "retries": 1}, "trained on n2, waited 34 s, 1 retry"),
        ({"node": "n2", "waited_s": 134.0, "retries": 2}, "trained on n2, waited 2 min 14 s, 2 retries"),
    ],
)
def test_a_training_on_a_cluster_says_where_it_ran(more: dict[str, Any], status: str) -> None:
    """Its node, how long it was in the queue, how often it was taken up again."""
    facts = RunFacts(cells=(CellFact(loss="dice_ce", fold=0, status="trained", **more),))
    assert training_rows(made_report(facts=facts))[0].status == status


def test_what_is_not_known_of_a_training_is_a_dash() -> None:
    """A cell without a card was not trained; one without a run is registered all the same."""
    report = made_report(runs=(), trained=made_report().trained[1:])
    first, second, *_ = training_rows(report)
    assert first == TrainingRow(name="dice_ce fold 0", status="not trained")
    assert (second.status, second.run_id, second.memory, second.url) == ("registered", "dice_ce1" * 4, "–", None)
    without_card = training_rows(made_report(trained=()))[0]
    assert (without_card.run_id, without_card.epochs, without_card.memory) == ("dice_ce0" * 4, "–", "0.9 GB")


def test_cells_come_in_the_runner_s_order_then_the_rest_then_the_evaluation() -> None:
    """Each once."""
    told = CellFact(loss="cbdice", fold=1, status="failed")
    report = made_report(facts=RunFacts(cells=(told,)), runs=(*made_report().runs, EVALUATION))
    rows = training_rows(report)
    assert [row.name for row in rows] == [
        "cbdice fold 1",
        "dice_ce fold 0",
        "dice_ce fold 1",
        "cbdice fold 0",
        "evaluation",
    ]
    assert rows[-1] == TrainingRow(name="evaluation", status="finished", seconds=9.0, run_id="e" * 8)


def test_the_peak_is_the_most_that_any_sample_shows() -> None:
    """Not the last one."""
    run = dataclasses.replace(made_report().runs[0], samples={MEMORY: ((1.0, 2600.0), (2.0, 900.0))})
    assert training_rows(made_report(runs=(run,)))[0].memory == "2.6 GB"


def test_tiles_tell_the_time_that_the_runner_measured() -> None:
    """Else the sum of the trainings, without the evaluation and those that still run."""
    measured = made_report(facts=RunFacts(wall_s=61.0, profile="cpu"))
    assert tiles(measured)[1:] == [
        ("folds", "2", ""),
        ("time", "1 min 1 s", "from start to end"),
        ("profile", "cpu", ""),
    ]
    running = dataclasses.replace(made_report().runs[0], seconds=None)
    summed = made_report(runs=(running, *made_report().runs[1:3], EVALUATION))
    assert tiles(summed)[2:] == [("training time", "2 min 30 s", "sum of 2 trainings")]
    assert tiles(made_report(runs=(), volumes=())) == []


def test_volumes_that_a_loss_lacks_are_not_said_to_be_complete() -> None:
    """Nor is the number of groups told where each volume is its own."""
    volumes = made_report().volumes
    assert tiles(made_report(volumes=volumes[1:]))[0] == ("volumes", "4", "")
    one_group = tuple(dataclasses.replace(one, group="mouse") for one in volumes)
    assert tiles(made_report(volumes=one_group))[0] == ("volumes", "4", "of 1 group, held out, each once")


@pytest.mark.parametrize(
    ("branch", "changed", "params_changed", "shown"),
    [
        ("main", (), False, ("main", "clean")),
        ("HEAD", (), True, ("none: HEAD is detached", "dirty: params.yaml changed")),
        ("x", ("a", "b"), True, ("x", "dirty: params.yaml changed, 2 more changed or untracked")),
    ],
)
def test_the_state_of_the_working_tree_is_told(
    branch: str, changed: tuple[str, ...], params_changed: bool, shown: tuple[str, str]
) -> None:
    """Commit, branch, and how many files differ from it."""
    repository = made_report().asked.repository
    assert repository is not None
    found = dataclasses.replace(repository, branch=branch, changed=changed, params_changed=params_changed)
    rows = dict(environment_rows(made_report(repository=found)))
    assert (rows["branch"], rows["working tree"]) == shown
    assert rows["Git commit"] == "0123456789ab"


def test_the_environment_starts_with_its_times() -> None:
    """Start and writing, to the minute; then what else is known. Without Git there is nothing to say of it."""
    started = datetime.datetime(2026, 1, 2, 3, 0, tzinfo=datetime.UTC)
    rows = environment_rows(made_report(facts=RunFacts(started=started), repository=None))
    assert rows == [
        ("started", "2026-01-02 03:00 UTC"),
        ("written", "2026-01-02 03:04 UTC"),
        ("CPU", "a processor"),
    ]
