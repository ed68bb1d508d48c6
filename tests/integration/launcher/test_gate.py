"""A gate in another stage's entry: it stops that stage, nothing is lost, and it makes nothing stale."""

from pathlib import Path

import pytest

from tests.support.toy import DVC_YAML, LIMITS, ToyProject

DOOR = """
import json
from pathlib import Path
import yaml
from stages.common.errors import CapillaryError, ExitCode
from stages.common.program.ending import run_main


def main():
    door = yaml.safe_load(Path("configs/door.yaml").read_text())
    told = json.loads(Path("order.json").read_text())["gate"]
    print("door before", told["gated"], sorted(str(p) for p in Path().iterdir()))
    if not door["open"]:
        raise CapillaryError("the door is closed", remedy="open it", code=ExitCode.PREFLIGHT)


run_main(main)
"""


@pytest.fixture
def toy(tmp_path: Path) -> ToyProject:
    """A toy project with a door before its stage."""
    toy = ToyProject(tmp_path / "toy")
    (toy.root / "stages/door").mkdir()
    (toy.root / "stages/door/__init__.py").touch()
    (toy.root / "stages/door/__main__.py").write_text(DOOR)
    access = f"toy: {{network: none, env: [TOY_*], resume: true, {LIMITS}}}\ndoor: {{gate: true}}\n"
    (toy.root / "configs/stages.yaml").write_text(access)
    commands = "cmd: [capillary stage door, capillary stage toy --flag x]"
    (toy.root / "dvc.yaml").write_text(DVC_YAML.replace("cmd: capillary stage toy --flag x", commands))
    set_door(toy, is_open=True)
    return toy


def set_door(toy: ToyProject, *, is_open: bool) -> None:
    (toy.root / "configs/door.yaml").write_text(f"open: {str(is_open).lower()}\nservices: []\n")


def test_an_open_gate_lets_the_stage_run(toy: ToyProject) -> None:
    """It runs first, sees its own files alone, and leaves nothing behind."""
    done = toy.repro()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "door before toy ['configs', 'order.json', 'params.yaml', 'stages']" in done.stdout
    assert toy.out() == "hello\n"
    assert toy.leftovers() == []
    assert "up to date" in toy.repro().stdout


def test_a_closed_gate_stops_the_stage_and_nothing_is_lost(toy: ToyProject) -> None:
    """DVC removed the previous outs before it asked the gate. They are restored; the run continues when it opens."""
    assert toy.repro().returncode == 0
    toy.set("copy", times=2)
    set_door(toy, is_open=False)
    done = toy.repro()
    assert done.returncode != 0
    assert "the door is closed" in done.stderr
    assert "exited with 9" in done.stderr
    assert "restored" in done.stdout
    assert toy.out() == "hello\n"
    set_door(toy, is_open=True)
    assert toy.repro().returncode == 0
    assert toy.out() == "hello\nhello\n"


def test_the_gate_s_code_and_config_make_nothing_stale(toy: ToyProject) -> None:
    """They decide whether a stage runs, not what comes out."""
    assert toy.repro().returncode == 0
    set_door(toy, is_open=False)
    (toy.root / "stages/door/__main__.py").write_text("raise SystemExit(1)\n")
    assert "up to date" in toy.run("dvc", "status").stdout
    assert toy.repro().returncode == 0
