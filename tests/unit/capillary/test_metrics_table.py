import json
from pathlib import Path

import pytest
from rich.console import Console

from capillary.metrics_table import metrics_table, show_metrics
from stages.common.errors import DataError
from stages.common.metrics import METRICS


def interval(mean: float | None) -> dict[str, float | None]:
    return {"mean": mean, "ci_low": 0.25, "ci_high": 0.75}


def text_of(metrics: dict[str, dict[str, dict[str, float | None]]]) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(metrics_table(metrics))
    return capture.get()


def test_each_loss_has_a_line_a_metric_with_mean_and_interval() -> None:
    """Mean and interval stand together, with the digits of their metric, and no line of a terminal is wrapped."""
    text = text_of({loss: {name: interval(0.5) for name in METRICS} for loss in ("dice_ce", "cbdice")})
    assert "dice_ce" in text
    assert "cbdice" in text
    assert text.count("0.500 [0.250, 0.750]") == 2 * 3
    assert text.count("0.50 [0.25, 0.75]") == 2 * 3
    assert text.count("0.5 [0.2, 0.8]") == 2 * 2
    assert len(text.splitlines()) == 5 + 2 * len(METRICS) + 1


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_a_metric_without_a_value_is_a_dash(unknown: float | None) -> None:
    """A distance to an empty mask has no value; the rest of the table stands."""
    assert "– [0.25, 0.75]" in text_of({"dice_ce": {name: interval(unknown) for name in METRICS}})


def test_a_mean_over_few_groups_stands_alone() -> None:
    """There is no interval, and no brackets about nothing."""
    text = text_of({"dice_ce": {"dsc": {"mean": 0.5, "ci_low": None, "ci_high": None}}})
    assert "0.500" in text
    assert "[–" not in text


def test_held_out_figures_have_a_table_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a word on which to quote; nothing of it where nothing is held out."""
    file = tmp_path / "metrics" / "metrics.json"
    file.parent.mkdir()
    held_out = {"ensemble": {"dsc": interval(0.875)}, "folds": {"dsc": {"mean": 0.8}}}
    for tested in ({}, {"test": held_out}):
        file.write_text(json.dumps({"dice_ce": {"dsc": interval(0.5), **tested}}))
        show_metrics(tmp_path)
        said = " ".join(capsys.readouterr().out.split())
        assert "0.500 [0.250, 0.750]" in said
        assert all((words in said) is bool(tested) for words in ("held-out volumes", "0.875 [0.250, 0.750]", "quote"))


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    """Before the first run there is nothing to show."""
    (tmp_path / "dvc.yaml").touch()
    with pytest.raises(DataError, match="no metrics yet") as caught:
        show_metrics(tmp_path)
    assert "reproduce" in caught.value.remedy


@pytest.mark.parametrize(
    "content", ["{", "[]", json.dumps({"dice_ce": {"dsc": 1}}), json.dumps({"dice_ce": {}}), "[" * 100_000]
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    """A file that is cut or of another version gives no traceback."""
    file = tmp_path / "metrics" / "metrics.json"
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(DataError, match="cannot be read") as caught:
        show_metrics(tmp_path)
    assert caught.value.file == file


def test_only_what_was_measured_is_shown_in_its_order() -> None:
    """A file with two metrics gives two lines, each with its better direction."""
    text = text_of({"dice_ce": {"hd95_um": interval(4.5), "nsd": interval(0.5)}})
    assert text.index("HD95 (µm)") < text.index("NSD")
    assert "DSC" not in text
    assert (text.count("↓"), text.count("↑")) == (1, 1)


def test_a_whole_file_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table, each loss named once, with its whole title and the tolerance of params.yaml."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "metrics.json").write_text(
        json.dumps({"dice_ce": {"dsc": interval(0.5), "nsd": interval(0.5)}})
    )
    (tmp_path / "params.yaml").write_text("evaluation: {nsd_tolerance_um: 1.5}")
    show_metrics(tmp_path)
    shown = capsys.readouterr().out
    assert "out of fold: mean [interval]" in shown
    assert "NSD (τ = 1.5 µm)" in shown
    assert shown.count("dice_ce") == 1
    assert shown.count("0.500 [0.250, 0.750]") == 2


@pytest.mark.parametrize(("listed", "shown"), [("[dice_ce]", {"dice_ce"}), ("[warp]", {"dice_ce", "cbdice"})])
def test_a_loss_that_params_yaml_lost_does_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], listed: str, shown: set[str]
) -> None:
    """It is named instead; a file of which no loss is listed is somebody else's, and shown as it is."""
    (tmp_path / "metrics").mkdir()
    both = {loss: {"dsc": interval(0.5)} for loss in ("dice_ce", "cbdice")}
    (tmp_path / "metrics" / "metrics.json").write_text(json.dumps(both))
    (tmp_path / "params.yaml").write_text(f"training: {{losses: {listed}, folds: [0]}}")
    show_metrics(tmp_path)
    text = capsys.readouterr().out
    table = text[text.index("mean [interval]") :]
    assert {loss for loss in both if loss in table} == shown
    assert ("left out" in text) == (len(shown) == 1)


def test_a_loss_s_name_is_no_markup() -> None:
    """metrics.json is a file as any other: a name in it is shown, whatever it holds."""
    text = text_of({"[red]a[/blue]\x1b[2J": {"dsc": interval(0.5)}})
    assert "[red]a[/blue]\\x1b[2J" in text
