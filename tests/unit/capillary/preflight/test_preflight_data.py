import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from capillary.preflight.data import DataState, cache_folder, check_data, judge, read_state
from stages.preflight.check import Check, Status
from tests.support.toy import ToyProject

NOTHING = DataState(sources=(), pulled=(), cached=(), changed=())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose one stage has run."""
    toy = ToyProject(tmp_path_factory.mktemp("data") / "toy")
    done = toy.repro()
    assert done.returncode == 0, done.stderr
    return toy.root


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(made, tmp_path / "toy", symlinks=True)
    return tmp_path / "toy"


def check(root: Path) -> Check:
    return check_data(root, critical=True)


def test_a_project_that_is_up_to_date_passes(project: Path) -> None:
    """Nothing is said but that all is here."""
    assert (check(project).status, check(project).value) == (Status.PASS, "here")


def test_a_source_that_was_removed_fails(project: Path) -> None:
    """No stage makes it."""
    (project / "data/in.txt").unlink()
    found = check(project)
    assert found.status is Status.FAIL
    assert found.value == "missing: data/in.txt"
    assert "dvc pull" in found.remedy


def test_an_out_that_the_cache_has_comes_back_by_itself(project: Path) -> None:
    """So nothing is wrong."""
    shutil.rmtree(project / "data/out")
    assert check(project).status is Status.PASS
    assert "data/out" in check(project).value


def test_an_out_that_was_never_pulled_is_told(project: Path) -> None:
    """As after a clone of a project with a dvc.lock."""
    shutil.rmtree(project / "data/out")
    shutil.rmtree(project / ".dvc/cache")
    found = check(project)
    assert found.status is Status.WARN
    assert "data/out" in found.value
    assert "dvc pull" in found.remedy


def test_an_out_that_was_changed_by_hand_is_told(project: Path) -> None:
    """It is out of step with dvc.lock, and the next run would write over it."""
    (project / "data/out/copy.txt").unlink()
    (project / "data/out/copy.txt").write_text("edited")
    found = check(project)
    assert found.status is Status.WARN
    assert "data/out" in found.value
    assert "dvc checkout" in found.remedy


def test_a_graph_that_dvc_cannot_read_fails(project: Path) -> None:
    """In DVC's own words."""
    (project / "dvc.yaml").write_text("stages: [")
    found = check(project)
    assert found.status is Status.FAIL
    assert "dvc.yaml" in found.value


def test_a_dvc_that_still_works_is_told_beside_one_that_was_killed(project: Path) -> None:
    """DVC warns of the dead one before it gives its error, and only the error counts."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    paths = {"data/in.txt": dead.pid, "data/out": os.getpid()}
    held = {str(project / path): {"pid": pid, "cmd": "dvc repro"} for path, pid in paths.items()}
    (project / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": held}))
    found = check(project)
    assert (found.status, found.value) == (Status.WARN, "another dvc runs in this project")


def test_the_cache_is_where_dvc_says(project: Path) -> None:
    """As its configuration has it."""
    (project / ".dvc/config").write_text("[cache]\n    dir = /elsewhere/cache\n")
    assert cache_folder(project) == Path("/elsewhere/cache")


def test_data_that_dvc_tracks_by_itself_must_be_pulled() -> None:
    """A .dvc file is no stage: nothing makes its data."""
    status = {"stacks.dvc": [{"changed outs": {"stacks": "deleted"}}]}
    state = read_state(status, {"uncommitted": {"deleted": ["stacks/"]}, "not_in_cache": ["stacks/"]})
    assert state == DataState(sources=("stacks",), pulled=(), cached=(), changed=())
    assert judge(state, critical=True).status is Status.FAIL


def test_what_a_stage_makes_is_no_missing_source() -> None:
    """Also when a dep is the folder above an out, or below one."""
    status = {
        "train": [{"changed outs": {"models/a.json": "deleted"}}],
        "evaluate": [{"changed deps": {"models": "deleted"}}, "always changed"],
    }
    assert read_state(status, {}) == NOTHING
