import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dvc.logger
import pytest
from dvc.cli import main as dvc_main
from dvc.repo import Repo

from capillary.preflight import data as data_checks
from capillary.preflight.data import DataState, cache_folder, check_data, error_of, judge, read_state
from stages.common.preflight.check import Check, Status

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # DVC's own
NOTHING = DataState(sources=(), pulled=(), cached=(), changed=())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose one stage has run: it copies data/in.txt into the folder data/out."""
    root = tmp_path_factory.mktemp("data") / "made"
    (root / "data").mkdir(parents=True)
    (root / "data" / "in.txt").write_text("hello")
    command = "mkdir -p data/out && cp data/in.txt data/out/copy.txt"
    (root / "dvc.yaml").write_text(f"stages: {{copy: {{cmd: {command}, deps: [data/in.txt], outs: [data/out]}}}}\n")
    with contextlib.chdir(root):
        Repo.init(no_scm=True).reproduce()
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(made, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


@pytest.fixture
def forked(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The copy, in which DVC's commands are forks of this process: a new process imports DVC, which takes a second."""
    monkeypatch.setattr(data_checks, "_run", _run_forked)
    return project


def _run_forked(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    out, err = root.with_suffix(".out"), root.with_suffix(".err")
    child = os.fork()
    if child == 0:
        code = -1
        try:
            with out.open("w") as sys.stdout, err.open("w") as sys.stderr:
                os.chdir(root)
                logging.getLogger("dvc").handlers.clear()
                dvc.logger.setup()  # to these files
                code = dvc_main(words)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


def check(root: Path) -> Check:
    return check_data(root, critical=True)


def test_a_project_that_is_up_to_date_passes(project: Path) -> None:
    """Nothing is said but that all is here. By real commands."""
    assert (check(project).status, check(project).value) == (Status.PASS, "here")


def test_a_source_that_was_removed_fails(forked: Path) -> None:
    """No stage makes it."""
    (forked / "data/in.txt").unlink()
    found = check(forked)
    assert found.status is Status.FAIL
    assert found.value == "missing: data/in.txt"
    assert "dvc pull" in found.remedy


def test_an_out_that_the_cache_has_comes_back_by_itself(forked: Path) -> None:
    """So nothing is wrong."""
    shutil.rmtree(forked / "data/out")
    assert check(forked).status is Status.PASS
    assert "data/out" in check(forked).value


def test_an_out_that_was_never_pulled_is_told(forked: Path) -> None:
    """As after a clone of a project with a dvc.lock."""
    shutil.rmtree(forked / "data/out")
    shutil.rmtree(forked / ".dvc/cache")
    found = check(forked)
    assert found.status is Status.WARN
    assert "data/out" in found.value
    assert "dvc pull" in found.remedy


def test_an_out_that_was_changed_by_hand_is_told(forked: Path) -> None:
    """It is out of step with dvc.lock, and the next run would write over it."""
    (forked / "data/out/copy.txt").unlink()
    (forked / "data/out/copy.txt").write_text("edited")
    found = check(forked)
    assert found.status is Status.WARN
    assert "data/out" in found.value
    assert "dvc checkout" in found.remedy


def test_a_graph_that_dvc_cannot_read_fails(forked: Path) -> None:
    """In DVC's own words."""
    (forked / "dvc.yaml").write_text("stages: [")
    found = check(forked)
    assert found.status is Status.FAIL
    assert "dvc.yaml" in found.value


def test_a_dvc_that_still_works_is_told_beside_one_that_was_killed(forked: Path) -> None:
    """DVC warns of the dead one before it gives its error, and only the error counts."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    paths = {"data/in.txt": dead.pid, "data/out": os.getpid()}
    held = {str(forked / path): {"pid": pid, "cmd": "dvc repro"} for path, pid in paths.items()}
    (forked / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": held}))
    found = check(forked)
    assert (found.status, found.value) == (Status.WARN, "another dvc runs in this project")


def test_the_cache_is_where_dvc_says(forked: Path) -> None:
    """As its configuration has it."""
    (forked / ".dvc/config").write_text("[cache]\n    dir = /elsewhere/cache\n")
    assert cache_folder(forked) == Path("/elsewhere/cache")


def test_data_that_dvc_tracks_by_itself_must_be_pulled() -> None:
    """A .dvc file is not a stage: nothing makes its data."""
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


def test_files_that_a_stage_makes_from_a_missing_source_are_no_sources() -> None:
    """Only what no stage makes is missing; each is named once, and before all that would be made again."""
    status = {
        "first": [{"changed deps": {"in.csv": "deleted", "code.py": "modified"}}, {"changed outs": {"mid": "deleted"}}],
        "second": [{"changed deps": {"mid/part.csv": "deleted", "in.csv": "deleted"}}],
    }
    data = {"uncommitted": {"deleted": ["mid/"], "modified": ["other/"]}, "not_in_cache": ["mid/", "in.csv"]}
    state = read_state(status, data)
    assert state == DataState(sources=("in.csv",), pulled=("mid",), cached=(), changed=("other",))
    assert judge(state, critical=True).value == "missing: in.csv"
    assert judge(state, critical=False).status is Status.WARN


def test_folders_of_like_names_are_not_the_same() -> None:
    """`models2` is neither in `models` nor above it."""
    status = {
        "train": [{"changed outs": {"models": "deleted"}}],
        "other": [{"changed deps": {"models2": "deleted"}}],
    }
    assert read_state(status, {}).sources == ("models2",)


def test_data_that_somebody_edited_is_not_missing() -> None:
    """A .dvc file whose data changed is a matter of `dvc commit`, not of a pull."""
    assert read_state({"stacks.dvc": [{"changed outs": {"stacks": "modified"}}]}, {}) == NOTHING


@pytest.mark.parametrize(
    ("state", "status", "value"),
    [
        (DataState(sources=(), pulled=("a",), cached=("b",), changed=("c",)), Status.WARN, "recorded, but neither"),
        (DataState(sources=(), pulled=(), cached=("b",), changed=("c",)), Status.WARN, "not as in dvc.lock: c"),
        (DataState(sources=(), pulled=(), cached=("a", "b", "c"), changed=()), Status.PASS, "automatically: a, b, c"),
        (DataState(sources=tuple("abcde"), pulled=(), cached=(), changed=()), Status.FAIL, "a, b, c and 2 more"),
    ],
)
def test_the_worst_is_told_first(state: DataState, status: Status, value: str) -> None:
    """Three names, and how many more there are."""
    found = judge(state, critical=True)
    assert found.status is status
    assert found.value.endswith(value) or found.value.startswith(value)


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("WARNING: a\nERROR: b\nERROR: c\n", "b"),
        ("something\nelse\n", "something"),
        ("", ""),
    ],
)
def test_the_error_is_told_apart_from_warnings(stderr: str, expected: str) -> None:
    """The first that DVC marks as one; the first line where none is."""
    assert error_of(stderr) == expected


def test_a_dvc_that_fails_without_a_word_is_told_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with the command that shows it; the cache is where it is by default."""
    monkeypatch.setattr(data_checks, "DVC", ("sh", "-c", "exit 3"))
    found = check(tmp_path)
    assert (found.status, found.value) == (Status.FAIL, "dvc ended with 3")
    assert "dvc status shows it" in found.remedy
    assert cache_folder(tmp_path) == tmp_path / ".dvc" / "cache"
    assert check_data(tmp_path, critical=False).status is Status.WARN
