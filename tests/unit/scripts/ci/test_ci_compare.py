"""The pull request's comment, from two commits' differences."""

import subprocess
from pathlib import Path

import pytest

from scripts.ci.compare import DRAWN, MARKER, MOST_ROWS, Comparison, Lock, comment, main, messages, show


def _comparison(**changes: object) -> Comparison:
    values = {"base": "a" * 40, "head": "b" * 40, "metrics": {}, "params": {}, "lock": Lock.CHANGED, **changes}
    return Comparison(**values)


def test_the_comment_begins_with_its_marker_and_names_both_commits() -> None:
    """It can be found again, and says what it compares."""
    lines = comment(_comparison()).splitlines()
    assert lines[0] == MARKER
    assert "`aaaaaaaaaa` → `bbbbbbbbbb`" in lines


def test_values_are_shown_before_and_after() -> None:
    """A row per key, with five digits and a signed change; a key that one commit lacks has a dash."""
    metrics = {"metrics/metrics.json": {"dice_ce.dsc.mean": {"old": 0.8123456, "new": 0.9, "diff": 0.0876544}}}
    params = {"params.yaml": {"training.losses": {"old": None, "new": ["dice_ce"]}}}
    text = comment(_comparison(metrics=metrics, params=params))
    assert "| `metrics/metrics.json` | `dice_ce.dsc.mean` | `0.81235` | `0.9` | `+0.087654` |" in text
    assert "| `params.yaml` | `training.losses` | `–` | `['dice_ce']` | `–` |" in text


def test_no_difference_is_said() -> None:
    """An empty answer is not an empty table."""
    assert "**Metrics**: no difference." in comment(_comparison())


def test_metrics_of_an_unchanged_lock_are_called_old() -> None:
    """A change that nobody ran is not shown as one without effect."""
    assert "the metrics are the old ones" in comment(_comparison(lock=Lock.SAME))
    assert "so there are no metrics" in comment(_comparison(lock=Lock.MISSING))
    assert "the metrics are the old ones" not in comment(_comparison())


def test_what_dvc_could_not_read_is_said() -> None:
    """DVC ends with 0 and an empty answer where it may not read the remote: the comment has its message."""
    text = comment(_comparison(unreadable=("DVC failed to load some metrics",)))
    assert "> - `DVC failed to load some metrics`" in text


def test_a_comment_of_many_keys_fits() -> None:
    """GitHub refuses one of more than 65,536 characters: the rest is counted, and is in the artifact."""
    keys = {f"{'k' * 300}{number}": {"old": "x" * 300, "new": "y" * 300} for number in range(1000)}
    text = comment(_comparison(metrics={"m" * 300: keys}, params={"p" * 300: keys}, unreadable=("z" * 1000,) * 50))
    assert len(text) < 65_536
    assert f"{1000 - MOST_ROWS} more rows" in text


def test_numbers_are_short() -> None:
    """Integers are whole, changes are signed, truth is not a number."""
    assert [show(2), show(2, signed=True), show(-0.5, signed=True), show(None)] == ["2", "+2", "-0.5", "–"]


def test_dvc_s_advertisement_is_no_message() -> None:
    """Only what DVC could not do is left."""
    assert messages("\nERROR: no\n\nHaving any troubles? Hit us up at …!\n") == ["ERROR: no"]


def test_a_page_without_a_plot_is_not_offered() -> None:
    """DVC writes a page of empty plots where it could not read their files."""
    assert DRAWN.search("var spec = {};") is None
    assert DRAWN.search('var spec = {"data": {}};') is not None


@pytest.mark.parametrize(
    ("programs", "words"),
    [(None, "has no commit nothere: "), ("nowhere", "git is not on PATH")],
)
def test_what_cannot_be_compared_is_said(
    programs: str | None,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A person types this command: a branch that a clone lacks, or a shell outside .venv, is no traceback."""
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    if programs:
        monkeypatch.setenv("PATH", programs)
    assert main(["nothere", "HEAD", "--out", "comparison"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "\nremedy: " in said
