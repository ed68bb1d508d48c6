"""Equal cells of an experiment are submitted as one array; whatever is not left to a cell's head is submitted once."""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from capillary.launcher import ahead
from capillary.lifetimes.stop import Stop
from capillary.places.held import held
from capillary.places.job import job_folder
from capillary.places.outcome import Ended, write_ended
from capillary.places.slurm import queue
from capillary.places.slurm.config import SlurmProfile
from capillary.places.slurm.execute import SlurmPlace
from capillary.places.slurm.submitted import read_submitted
from capillary.planning.plan import StagePlan
from capillary.publishing import finished
from capillary.settings import Settings, read_settings
from stages.common.errors import CapillaryError, ExitCode
from stages.common.params import validate_params
from tests.support.clusters.places import PROFILE
from tests.unit.capillary.places.slurm.conftest import FakeSlurm, done

CELLS = ["toy@a", "toy@b", "toy@c"]
Make = Callable[..., StagePlan]


class Cells:
    """The cells of an experiment whose jobs are to be submitted. `plans` lacks those that need none."""

    def __init__(self, root: Path, make_plan: Make) -> None:
        self.root = root
        self.plans = {
            cell: make_plan("data/in.txt", address=cell, fingerprint=f"{number}123456789abcdef")
            for number, cell in enumerate(CELLS)
        }
        self.stop = Stop()

    def plan(self, _root: Path, cell: str, place: SlurmPlace, _settings: Settings, _stop: Stop) -> StagePlan | None:
        """As DVC's entry would give it."""
        place.environment_id(self.root, "toy", self.plans["toy@a"].access)
        return self.plans.get(cell)

    def submit(self) -> None:
        ahead.submit_ahead(self.root, CELLS, read_settings(self.root, {}), self.stop)

    def folder(self, cell: str) -> Path:
        return job_folder(self.plans[cell])


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm()
    monkeypatch.setattr(queue, "_run", fake)
    return fake


@pytest.fixture
def cells(make_plan: Make, root: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> Cells:
    config = {"max_jobs": 2, "stages": {"toy": "small"}, "profiles": {"small": PROFILE}}
    (root / "configs").mkdir()
    (root / "configs/slurm.yaml").write_text(yaml.safe_dump(config))
    (root / "dvc.yaml").write_text("stages: {toy: {matrix: {item: [a, b, c]}, cmd: capillary stage toy}}\n")
    (root / "configs/stages.yaml").write_text("toy: {}\n")
    made = Cells(root, make_plan)
    monkeypatch.setattr(ahead, "_plan", made.plan)
    monkeypatch.setattr(ahead, "stage_of", lambda _root, _cell: "toy")
    return made


def test_equal_cells_are_one_array(cells: Cells, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]) -> None:
    """With as many tasks at once as the experiment may have jobs; each folder knows its task before and after."""
    cells.submit()
    (argv,) = slurm.said("sbatch")
    assert "--array=0-2%2" in argv
    tasks = {cell: read_submitted(cells.folder(cell)) for cell in CELLS}
    assert [found.job for found in tasks.values() if found] == ["4711_0", "4711_1", "4711_2"]
    marks = [json.loads((cells.folder(cell) / "array.json").read_text()) for cell in CELLS]
    assert [mark["task"] for mark in marks] == [0, 1, 2]
    assert f"#SBATCH --job-name={marks[0]['name']}" in Path(argv[-1]).read_text()
    assert "3 equal cells are tasks of the array 4711; at most 2 run at once" in capsys.readouterr().out


def test_a_cell_that_no_other_is_equal_to_is_left_to_its_head(cells: Cells, slurm: FakeSlurm) -> None:
    """One that was added, or one of several that another head holds; nothing is left of the look at it."""
    del cells.plans["toy@b"]
    with held(cells.folder("toy@c"), "toy@c"):
        cells.submit()
    assert slurm.said("sbatch") == []
    assert not cells.folder("toy@a").exists()


def test_cells_that_ask_for_other_things_are_no_array(cells: Cells, slurm: FakeSlurm) -> None:
    """Such as a variable by name that only one of them may have."""
    plan = cells.plans["toy@b"]
    access = plan.access.model_copy(update={"env": ("TOY_*",)})
    cells.plans["toy@b"] = dataclasses.replace(plan, access=access)
    with_token = read_settings(cells.root, {"TOY_TOKEN": "t"})
    ahead.submit_ahead(cells.root, CELLS, with_token, cells.stop)
    (argv,) = slurm.said("sbatch")
    assert "--array=0-1" in argv
    assert not cells.folder("toy@b").exists()


@pytest.mark.parametrize(("code", "array"), [(0, "--array=0-1"), (3, "--array=0-2%2")])
def test_a_job_that_still_counts_is_not_submitted_again(cells: Cells, slurm: FakeSlurm, code: int, array: str) -> None:
    """One that ended well waits to be collected; one that failed is part of the next array."""
    cells.submit()
    for cell in CELLS[1:]:
        (cells.folder(cell) / "jobid").unlink()
        (cells.folder(cell) / "array.json").unlink()
    write_ended(cells.folder("toy@a"), Ended(code=code, node="n1", started=1.0, ended=2.0))
    cells.submit()
    assert array in slurm.said("sbatch")[-1]


def test_jobs_that_bring_everything_along_are_no_array(cells: Cells, slurm: FakeSlurm) -> None:
    """Each has a script of its own."""
    apart = {"max_jobs": 2, "stages": {"toy": "small"}, "profiles": {"small": {**PROFILE, "files": "remote"}}}
    (cells.root / "configs/slurm.yaml").write_text(yaml.safe_dump(apart))
    cells.submit()
    assert slurm.said("sbatch") == []
    assert not any(cells.folder(cell).exists() for cell in CELLS)


def test_an_array_that_slurm_does_not_take(
    cells: Cells, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Heads look for it before they submit anything: an answer that came too late may have been a yes."""
    monkeypatch.setattr(queue, "_run", lambda *_: done(stderr="QOSMaxSubmitJobPerUserLimit", code=1))
    cells.submit()
    assert (
        "no array of 3 jobs (QOSMaxSubmitJobPerUserLimit); each cell is submitted by itself" in capsys.readouterr().out
    )
    assert all((cells.folder(cell) / "array.json").is_file() for cell in CELLS)


def test_a_request_to_stop_submits_nothing(cells: Cells, slurm: FakeSlurm) -> None:
    """Nor does a cell whose inputs are wrong keep the others from anything."""

    def refused(*_: object) -> None:
        raise CapillaryError("a dep is damaged", remedy="r", code=ExitCode.DATA)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "_plan", refused)
        cells.submit()
    cells.stop.receive(2, None)
    with contextlib.suppress(KeyboardInterrupt):
        cells.submit()
    assert slurm.said("sbatch") == []
    assert not any(cells.folder(cell).exists() for cell in CELLS)


def test_a_cell_that_had_finished_needs_no_job(make_plan: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the look at it leave files: what its run comes from is written anew when its head starts."""
    plan, forgotten = make_plan(), list[StagePlan]()
    monkeypatch.setattr(
        ahead, "Entry", lambda *_: SimpleNamespace(is_due=lambda: True, commands=["capillary stage toy"])
    )
    for name, value in {"is_gate": False, "read_request": None, "checked_plan": plan}.items():
        monkeypatch.setattr(ahead, name, lambda *_, value=value: value)
    monkeypatch.setattr(finished, "has", lambda _plan: True)
    monkeypatch.setattr(ahead, "forget", forgotten.append)
    settings = read_settings(root, {})
    place = SlurmPlace(settings, validate_params(SlurmProfile, PROFILE, "configs/slurm.yaml"))
    assert ahead._plan(root, "toy@a", place, settings, Stop()) is None
    assert forgotten == [plan]
