"""Held-out figures and seeds in a report: read from evaluate's files, shown apart from what is out of fold."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stages.common.cell_name import CellName
from stages.common.errors import DamagedError
from stages.common.runtime import Runtime
from stages.common.statistics.results import Interval
from stages.common.tracking.cards.card import card_json
from stages.report.model import HeldOut, Spread
from stages.report.pages.html import to_html
from stages.report.pages.markdown import to_markdown
from stages.report.sources.held_out import read_held_out, read_spreads
from stages.report.sources.results import read_bands, read_metrics, read_trained, read_volumes
from stages.report.words import quote_words, spread_words, volume_counts
from tests.support.tracking.cards import CARD
from tests.unit.stages.report.made import made_report

ENDS = {"mean": 0.8125, "ci_low": 0.7, "ci_high": 0.9}
TEST = {"ensemble": {"dsc": ENDS}, "folds": {"dsc": {"mean": 0.7375}}, "networks": 6, "volumes": 7, "groups": 5}
FOUND = HeldOut(ensemble={"dsc": Interval(**ENDS)}, folds={"dsc": 0.7375}, networks=6, volumes=7, groups=5)
SPREADS = (Spread(loss="dice_ce", metric="dsc", seeds=3, over_seeds=0.0042, folds=2, over_folds=0.0313),)


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    """The folder of evaluate's results in the workspace `tmp_path`."""
    (tmp_path / "metrics").mkdir()
    return tmp_path / "metrics"


def write(metrics: Path, test: object) -> None:
    """metrics.json of one loss."""
    interval = {"mean": 0.5, "ci_low": None, "ci_high": None}
    (metrics / "metrics.json").write_text(json.dumps({"dice_ce": {"dsc": interval, "test": test}}))


def test_held_out_figures_are_read_apart(metrics: Path) -> None:
    """They are no metric of the out-of-fold table; a file of another form is damaged."""
    write(metrics, TEST)
    assert read_held_out(metrics) == {"dice_ce": FOUND}
    assert list(read_metrics(metrics)["dice_ce"]) == ["dsc"]
    write(metrics, {"ensemble": {}})
    with pytest.raises(DamagedError):
        read_held_out(metrics)


def test_tables_with_seeds_are_read(metrics: Path) -> None:
    """A band counts a volume once; a card of another seed is found in its folder."""
    assert read_spreads(metrics) == ()
    head = "loss,metric,seeds,sd_over_seeds,folds,sd_over_folds"
    (metrics / "spread.csv").write_text(f"{head}\ndice_ce,dsc,3,0.0042,2,0.0313\n")
    assert read_spreads(metrics) == SPREADS
    rows = "dice_ce,0,a,a,0.5,measured,2026\ndice_ce,0,a,a,0.7,measured,7\n"
    (metrics / "per_volume.csv").write_text(f"loss,fold,id,group,dsc,rule,seed\n{rows}")
    assert [volume.seed for volume in read_volumes(metrics)] == [2026, 7]
    counts = "label,label_found,line,line_found,predicted_line,predicted_line_right"
    lines = "".join(f"dice_ce,0,a,0,3,4,2,2,1,2,1,{seed}\n" for seed in (2026, 7))
    (metrics / "radius_bands.csv").write_text(f"loss,fold,id,from_um,to_um,{counts},seed\n{lines}")
    (band,) = read_bands(metrics)
    assert (band.volumes, band.recall) == (1, 0.5)
    file = metrics.parent / "models" / "dice_ce" / "seed_7" / "fold_1.json"
    file.parent.mkdir(parents=True)
    file.write_text(card_json(CARD))
    cell = CellName("dice_ce", 1, 7)
    (trained,) = read_trained(metrics.parent, [CellName("dice_ce", 1), cell], Runtime(tracking_uri="http://h"))
    assert trained.cell.seed == 7


def test_a_report_says_which_figure_to_quote() -> None:
    """In both forms, in its own part; no such part where nothing is held out."""
    report = made_report(held_out={"dice_ce": FOUND})
    for text in (to_markdown(report), to_html(report)):
        assert "Held-out volumes" in text
        assert "0.812" in text
        assert "7 volumes of 5 groups, 6 networks" in text
        assert "provided that it was not used to choose anything" in text
    for text in (to_markdown(made_report()), to_html(made_report())):
        assert "Held-out" not in text
    assert "Fewer than 5 groups" in quote_words(made_report(held_out={"dice_ce": replace(FOUND, groups=4)}))


def test_seeds_have_a_column_and_a_spread_of_their_own() -> None:
    """A volume counts once, whatever the number of its seeds."""
    plain = made_report()
    volumes = tuple(replace(volume, seed=seed) for volume in plain.volumes for seed in (2026, 7))
    report = made_report(volumes=volumes, spreads=SPREADS)
    assert volume_counts(report) == volume_counts(plain)
    assert "| volume | loss | fold | seed |" in to_markdown(report)
    assert "0.004 over 3 seeds, 0.031 over 2 folds" in spread_words(report)
    assert spread_words(report).split(":")[0] in to_html(report)
    assert spread_words(plain) == ""
