"""Cells of an experiment in Slurm's queue: submitted before their heads, and out of it after Ctrl-C alone."""

import json
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from capillary.experiments import arrays
from capillary.places import jobs
from capillary.settings import Settings, read_settings

CELLS = ["train@a-0", "train@a-1"]


@pytest.fixture
def slurm(tmp_path: Path) -> Settings:
    return read_settings(tmp_path, {"CAPILLARY_PLACE": "slurm"})


@pytest.fixture
def withdrawn(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The cells whose jobs were taken out of the queue."""
    found: list[list[str]] = []

    def withdraw(_root: Path, cells: Collection[str]) -> None:
        found.append(list(cells))

    monkeypatch.setattr(jobs, "withdraw", withdraw)
    return found


def stand_in(monkeypatch: pytest.MonkeyPatch, more: str = "") -> None:
    program = f"import json, os, signal, sys; json.dump([sys.argv[1:], os.environ['X']], open('said', 'w')); {more}"
    monkeypatch.setattr(arrays, "AHEAD", (sys.executable, "-c", program))


def test_cells_are_submitted_with_the_experiment_s_variables(
    slurm: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether that works or not, the heads come next; on other places, or for one cell, there is nothing to submit.

    The level of its own messages is an argument: jobs may print more than is shown here.
    """
    stand_in(monkeypatch, "sys.exit(1)")
    here = read_settings(tmp_path, {})
    assert arrays.submit_ahead(tmp_path, {"X": "1"}, CELLS, here) == 0
    assert arrays.submit_ahead(tmp_path, {"X": "1"}, CELLS[:1], slurm) == 0
    assert not (tmp_path / "said").exists()
    assert arrays.submit_ahead(tmp_path, {"X": "1"}, CELLS, slurm) == 0
    assert json.loads((tmp_path / "said").read_text()) == [["info", *CELLS], "1"]


@pytest.mark.parametrize(("number", "leaves"), [("SIGINT", True), ("SIGTERM", False)])
@pytest.mark.usefixtures("default_signals")
def test_only_ctrl_c_takes_jobs_out_of_the_queue(
    slurm: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    withdrawn: list[list[str]],
    number: str,
    leaves: bool,
) -> None:
    """A terminal that is closed leaves them, and the same command finds them."""
    stand_in(monkeypatch, f"os.kill(os.getppid(), signal.{number})")
    code = arrays.submit_ahead(tmp_path, {"X": "1"}, CELLS, slurm)
    assert code == (130 if leaves else 143)
    assert withdrawn == ([CELLS] if leaves else [])
    arrays.leave_queue(tmp_path, CELLS, read_settings(tmp_path, {}), 130)
    assert len(withdrawn) == leaves


@pytest.mark.usefixtures("default_signals")
def test_results_of_others_are_fetched_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where a cache is shared; whatever goes wrong, cells are computed, and who stops is heard at once."""
    said = tmp_path / "said"
    sharing = read_settings(tmp_path, {"CAPILLARY_SHARED_CACHE": "lab"})
    program = "import os, sys; open('said', 'a').write(' '.join(sys.argv[1:]) + os.environ['X']); sys.exit(1)"
    monkeypatch.setattr(arrays, "PREFETCH", (sys.executable, "-c", program))
    assert arrays.fetch_ahead(tmp_path, {"X": "1"}, CELLS, read_settings(tmp_path, {})) == 0
    assert arrays.fetch_ahead(tmp_path, {"X": "1"}, [], sharing) == 0
    assert not said.exists()
    assert arrays.fetch_ahead(tmp_path, {"X": "1"}, CELLS, sharing) == 0
    assert said.read_text() == "train@a-0 train@a-11"
    stopping = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    monkeypatch.setattr(arrays, "PREFETCH", (sys.executable, "-c", stopping))
    assert arrays.fetch_ahead(tmp_path, {}, CELLS, sharing) == 143
