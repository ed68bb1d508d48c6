"""Held-out figures: means, tables, and what is shown."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from stages.evaluate.held_out.rows import ENSEMBLE, HeldOutRow, model_name, summarise_held_out
from stages.evaluate.held_out.showing import points_of, print_held_out
from stages.evaluate.held_out.sums import RunningSums
from stages.evaluate.held_out.tables import TEST_CSV, as_json, write_held_out
from stages.evaluate.results.outputs import METRICS_JSON, write_outputs
from stages.evaluate.statistics.intervals import interval_of_mean
from stages.evaluate.statistics.summary import summarise
from tests.unit.stages.evaluate.made import evaluation, row

EVALUATION = evaluation(metrics=("dsc", "nsd"))
MODELS = (model_name(0, None), model_name(1, 7), ENSEMBLE)
# six volumes of five groups under two networks and the ensemble
DSC = {(model, index): 0.5 + index / 20 + place / 100 for place, model in enumerate(MODELS) for index in range(6)}
ROWS = [
    HeldOutRow(
        loss="dice_ce",
        model=model,
        id=f"v{index}",
        group=f"g{min(index, 4)}",
        measurement=row("dice_ce", index, dsc).measurement,
    )
    for (model, index), dsc in DSC.items()
]


def by_group(model: str) -> list[float]:
    """The mean DSC of each group under `model`."""
    return [*(DSC[model, index] for index in range(4)), (DSC[model, 4] + DSC[model, 5]) / 2]


def test_the_mean_of_probabilities_is_that_of_all_networks(tmp_path: Path) -> None:
    """Equal to stacking them; volumes are apart, and a sum that was taken begins again."""
    made = np.random.default_rng(0).random((2, 3, 4, 5, 6), dtype=np.float32)
    sums = RunningSums(tmp_path)
    for network in range(3):
        for place in range(2):
            sums.add(place, made[place, network])
    for place in range(2):
        np.testing.assert_allclose(sums.take_mean(place), made[place].mean(axis=0), rtol=1e-6)
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError):
        sums.take_mean(0)
    sums.add(0, made[0, 0])
    np.testing.assert_array_equal(sums.take_mean(0), made[0, 0])


def test_the_ensemble_has_an_interval_over_groups_and_the_networks_a_mean() -> None:
    """Groups count once, as out of fold."""
    (found,) = summarise_held_out(ROWS, EVALUATION).values()
    assert (found.networks, found.volumes, found.groups) == (2, 6, 5)
    assert found.ensemble["dsc"] == interval_of_mean(np.array(by_group(ENSEMBLE)), 0.95, 0.0, 1.0)
    assert found.folds["dsc"] == pytest.approx(np.mean([by_group(model) for model in MODELS[:2]]))
    assert summarise_held_out([], EVALUATION) == {}


def test_the_tables_say_it_apart_from_the_out_of_fold_figures(tmp_path: Path) -> None:
    """Their own table, and one key more in metrics.json; without held-out volumes metrics.json is as ever."""
    rows = [row("dice_ce", index, 0.8) for index in range(4)]
    summary, results = summarise(rows, EVALUATION), summarise_held_out(ROWS, EVALUATION)
    write_held_out(tmp_path, ROWS, EVALUATION)
    lines = list(csv.DictReader((tmp_path / TEST_CSV).read_text().splitlines()))
    assert [line["model"] for line in lines[::6]] == ["fold_0", "fold_1_seed_7", "ensemble"]
    assert list(lines[0]) == ["loss", "model", "id", "group", "dsc", "nsd", "rule"]
    assert float(lines[-1]["dsc"]) == DSC[ENSEMBLE, 5]
    write_outputs(tmp_path / "with", rows, summary, [], held_out=results)
    write_outputs(tmp_path / "without", rows, summary, [])
    found = json.loads((tmp_path / "with" / METRICS_JSON).read_text())
    assert found["dice_ce"].pop("test") == as_json(results["dice_ce"])
    assert found == json.loads((tmp_path / "without" / METRICS_JSON).read_text())
    write_held_out(tmp_path, [], EVALUATION)
    assert (tmp_path / TEST_CSV).read_text() == "loss,model,id,group,dsc,nsd,rule\n"


def test_the_terminal_shows_which_figure_to_quote(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing at all where nothing is held out; MLflow gets the ensembles' means and ends."""
    print_held_out({}, EVALUATION)
    assert capsys.readouterr().out == ""
    results = summarise_held_out(ROWS, EVALUATION)
    print_held_out(results, EVALUATION)
    said = " ".join(capsys.readouterr().out.split())
    interval = results["dice_ce"].ensemble["dsc"]
    assert f"{interval.mean:.3f} [{interval.ci_low:.3f}, {interval.ci_high:.3f}]" in said
    assert "6 held-out volumes of 5 groups, 2 networks" in said
    assert "the one to quote, provided that it was not used to choose anything" in said
    assert points_of(results)["dice_ce.test.dsc"] == interval.mean
    assert points_of(results)["dice_ce.test.dsc.ci_low"] == interval.ci_low
