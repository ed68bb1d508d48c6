"""Seeds of one volume are averaged before anything is counted, and their spread is apart from that of folds."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.evaluate.results.outputs import PER_VOLUME_CSV, write_bands, write_outputs
from stages.evaluate.row import Row, first_of_each, over_seeds
from stages.evaluate.statistics.paired import compare_losses
from stages.evaluate.statistics.spread import SPREAD_CSV, spreads, write_spreads
from stages.evaluate.statistics.summary import summarise
from tests.unit.stages.evaluate.made import evaluation, row

EVALUATION = evaluation(metrics=("dsc",))
SEEDS = (None, 7, 8)


def dsc_of(loss: str, index: int, seed: int | None) -> float:
    """Made-up, different everywhere."""
    return 0.5 + len(loss) / 100 + index / 20 + (seed or 0) ** 2 / 900


def rows_of(loss: str, seeds: tuple[int | None, ...] = SEEDS) -> list[Row]:
    """Six volumes on two folds, each under every seed."""
    return [replace(row(loss, index, dsc_of(loss, index, seed)), seed=seed) for seed in seeds for index in range(6)]


def test_without_further_seeds_the_rows_are_as_they_are() -> None:
    """No mean of one value, which may round."""
    rows = rows_of("dice_ce", (None,))
    assert all(one is other for one, other in zip(over_seeds(rows), rows, strict=True))


def test_a_volume_counts_once_whatever_the_number_of_its_seeds() -> None:
    """Interval and paired test run over volumes; a seed that one volume lacks gives the others no weight."""
    rows = rows_of("dice_ce")
    averaged = over_seeds(rows)
    expected = [np.mean([dsc_of("dice_ce", index, seed) for seed in SEEDS]) for index in range(6)]
    assert [one.measurement.values["dsc"] for one in averaged] == pytest.approx(expected)
    lacking = [one for one in rows if (one.seed, one.id) != (8, "v0")]
    means = [one.measurement.values["dsc"] for one in over_seeds(lacking)]
    assert summarise(over_seeds(lacking), EVALUATION)["dice_ce"]["dsc"].mean == pytest.approx(np.mean(means))
    (found,) = compare_losses(over_seeds([*rows, *rows_of("cbdice")]), EVALUATION)
    assert (found.volumes, found.groups) == (6, 6)
    assert [one.seed for one in first_of_each(rows)] == [None] * 6


def test_a_value_that_some_seeds_lack_is_the_mean_of_the_others() -> None:
    """NaN if no seed has it."""
    one, two = rows_of("dice_ce", (None, 7))[::6]
    nan = replace(two, measurement=replace(two.measurement, values={"dsc": np.nan}))
    (merged,) = over_seeds([replace(one, measurement=replace(one.measurement, values={"dsc": 0.5})), nan])
    assert merged.measurement.values == {"dsc": 0.5}
    (none,) = over_seeds([nan, replace(nan, seed=8)])
    assert np.isnan(none.measurement.values["dsc"])


def test_spreads_over_seeds_and_over_folds_are_apart(tmp_path: Path) -> None:
    """Standard deviations of the means, with n − 1; a seed that lacks volumes is compared on those that all have."""
    (found,) = spreads(rows_of("dice_ce"), EVALUATION)
    by_seed = [np.mean([dsc_of("dice_ce", index, seed) for index in range(6)]) for seed in SEEDS]
    by_fold = [
        np.mean([dsc_of("dice_ce", i, seed) for i in (fold, fold + 2, fold + 4) for seed in SEEDS]) for fold in (0, 1)
    ]
    assert (found.seeds, found.folds) == (3, 2)
    assert found.sd_over_seeds == pytest.approx(np.std(by_seed, ddof=1))
    assert found.sd_over_folds == pytest.approx(np.std(by_fold, ddof=1))
    lacking = [one for one in rows_of("dice_ce") if (one.seed, one.fold) != (8, 1)]
    by_seed = [np.mean([dsc_of("dice_ce", index, seed) for index in (0, 2, 4)]) for seed in SEEDS]
    assert spreads(lacking, EVALUATION)[0].sd_over_seeds == pytest.approx(np.std(by_seed, ddof=1))
    (alone,) = spreads(rows_of("dice_ce", (None,))[::2], EVALUATION)
    assert (alone.sd_over_seeds, alone.sd_over_folds) == (None, None)
    write_spreads(tmp_path, [alone])
    assert (tmp_path / SPREAD_CSV).read_text().splitlines()[1] == "dice_ce,dsc,1,,1,"


def test_tables_name_the_seed_only_where_there_are_several(tmp_path: Path) -> None:
    """The last column, so that the others keep their places."""
    for name, seeds in (("one", (None,)), ("three", SEEDS)):
        rows = rows_of("dice_ce", seeds)
        write_outputs(tmp_path / name, rows, summarise(over_seeds(rows), EVALUATION), [], first_seed=2026)
        write_bands(tmp_path / name, rows, (3.0, 6.0), first_seed=2026)
    for table in (PER_VOLUME_CSV, "radius_bands.csv"):
        lines = {name: (tmp_path / name / table).read_text().splitlines() for name in ("one", "three")}
        assert lines["three"][0] == f"{lines['one'][0]},seed"
        assert lines["three"][1] == f"{lines['one'][1]},2026"
        assert {line["seed"] for line in csv.DictReader(lines["three"])} == {"2026", "7", "8"}
