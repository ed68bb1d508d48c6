"""Cells side by side: real DVC processes in one workspace, whatever their order and however they end."""

import hashlib
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.experiments.cell_project import CellProject, kill
from tests.support.chaos import rounds
from tests.support.warm import warm_python

ROUNDS = rounds(2, by_hand=30)


@pytest.fixture
def project(tmp_path: Path) -> CellProject:
    return CellProject(tmp_path / "project", count=4)


def md5(address: str) -> str:
    return hashlib.md5((address.removeprefix("cell@") * 3).encode(), usedforsecurity=False).hexdigest()


def test_all_cells_are_recorded_and_a_second_run_runs_none(tmp_path: Path) -> None:
    """Six at once, more than there are cores: every entry of dvc.lock is there and right."""
    project = CellProject(tmp_path / "project", count=6)
    outcomes = project.run(slots=6)
    assert outcomes == dict.fromkeys(project.addresses, (0, True))
    assert project.recorded() == {address: md5(address) for address in project.addresses}
    assert project.run(slots=2) == dict.fromkeys(project.addresses, (0, False))
    assert set(project.counts().values()) == {1}


def test_no_more_cells_run_at_once_than_there_are_slots(project: CellProject) -> None:
    """And each of them has its slot's variables for itself."""
    process = project.start(slots=3, dvc_python=warm_python())
    assert process.stdout is not None
    busy: dict[str, str] = {}
    for line in process.stdout:
        what, address, slot = line.split()
        if what == "started":
            assert slot not in busy.values()
            busy[address] = slot
            continue
        del busy[address]
        assert f"cell {address.removeprefix('cell@')}" in (project.root / ".logs" / f"{address}.log").read_text()
    assert process.wait() == 0


def test_a_cell_that_fails_ends_no_other(project: CellProject) -> None:
    """And only it runs again."""
    project.set_fates({"cell@c03": "fail"})
    outcomes = project.run(slots=2)
    assert {address for address, (code, _) in outcomes.items() if code} == {"cell@c03"}
    project.set_fates({})
    again = project.run(slots=2)
    assert {address for address, (_, ran) in again.items() if ran} == {"cell@c03"}


def test_another_dvc_in_the_workspace_is_waited_for(tmp_path: Path) -> None:
    """A lock that somebody holds for longer than DVC's 3 s fails no cell."""
    project = CellProject(tmp_path / "project", count=2)
    script = "import time; from dvc.repo import Repo\nwith Repo().lock:\n    print('held', flush=True); time.sleep(8)\n"
    holder = subprocess.Popen([warm_python(), "-c", script], cwd=project.root, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    outcomes = project.run(slots=2)
    assert holder.wait() == 0
    assert {code for code, _ in outcomes.values()} == {0}


def test_asked_to_stop_the_cells_end_and_no_more_are_started(project: CellProject) -> None:
    """SIGTERM, as from a scheduler; dvc.lock keeps what had finished."""
    process = project.start(slots=2, cell_s=60)
    while not project.counts():
        time.sleep(0.05)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 143, output
    assert time.monotonic() - started < 10
    assert sum(project.counts().values()) <= 2
    project.wait_until_quiet()


@pytest.mark.slow
def test_nothing_is_lost_or_repeated_whatever_happens(tmp_path: Path) -> None:
    """Round after round: cells that fail, DVC processes and runners that are killed, at random; then a run to the end.

    What dvc.lock knew before a run is never run again, everything is in it afterwards, with the right checksum.
    """
    draw = random.Random(20261121)
    for number in range(ROUNDS):
        project = CellProject(tmp_path / f"round{number}", count=rounds(5, by_hand=8))
        project.set_fates({name: draw.choice(["fail", "kill dvc"]) for name in draw.sample(project.addresses, 3)})
        process = project.start(slots=draw.choice([2, 3]), dvc_python=warm_python())
        if number % 2:
            try:
                process.wait(timeout=draw.uniform(0.5, 6))
            except subprocess.TimeoutExpired:
                kill(process)
        process.communicate()
        project.wait_until_quiet()

        recorded, counts = project.recorded(), project.counts()
        assert recorded == {address: md5(address) for address in recorded}, number
        project.set_fates({})
        outcomes = project.run(slots=2)
        assert {code for code, _ in outcomes.values()} == {0}, number
        assert {address for address, (_, ran) in outcomes.items() if not ran} >= set(recorded), number
        assert project.recorded() == {address: md5(address) for address in project.addresses}, number
        assert {address: project.counts()[address] for address in recorded} == {
            address: counts[address] for address in recorded
        }, number
