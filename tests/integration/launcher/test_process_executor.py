"""The process executor under real DVC: what an entry declares is what its stage can touch."""

import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.support.toy import ToyProject


@pytest.fixture
def toy(tmp_path: Path) -> ToyProject:
    return ToyProject(tmp_path / "project with a space")


def test_a_stage_gets_its_arguments_its_declared_params_and_nothing_else(toy: ToyProject) -> None:
    """argv, params and visible files are exactly what the entry declares; a secret that is not allowed stays out."""
    toy.set("tell", times=2)
    done = toy.repro()
    assert done.returncode == 0, done.stderr
    assert toy.out() == "hello\nhello\n"
    assert toy.out("argv.txt") == "--flag x"
    assert toy.out("params.yaml") == "toy:\n  mode: tell\n  times: 2\n"
    variables = toy.out("env.txt").split("\n")
    assert "TOY_ROOT" in variables
    assert "SECRET_TOKEN" not in variables
    assert [name for name in variables if name.startswith("CAPILLARY_")] == ["CAPILLARY_POLICY"]  # the guard's own
    files = toy.out("files.txt").split("\n")
    assert "data/in.txt" in files
    assert "data/other.txt" not in files
    assert "dvc.yaml" not in files


def assert_nothing_changed(toy: ToyProject) -> None:
    """Nothing was published, changed or left over."""
    assert not (toy.root / "data" / "out").exists()
    assert (toy.root / "data" / "in.txt").read_text() == "hello\n"
    assert not (toy.root / "data" / "more.txt").exists()
    assert not (toy.root.parent / "stray.txt").exists()
    assert toy.leftovers() == []


@pytest.mark.parametrize(
    ("mode", "named"),
    [("read_undeclared", "may not read data/other.txt"), ("connect", "may not connect to ('127.0.0.1', 9)")],
)
def test_an_undeclared_access_fails_with_its_name(toy: ToyProject, mode: str, named: str) -> None:
    """The stage ends with exit code 5 and a message that names the file, and nothing was published or changed."""
    toy.set(mode)
    done = toy.repro()
    assert done.returncode != 0
    assert "exited with 5" in done.stderr
    assert named in done.stderr
    assert "remedy:" in done.stderr
    assert_nothing_changed(toy)


REFUSED = {
    "read_undeclared": "may not read data/other.txt",
    "read_absolute": "may not read data/other.txt",
    "list_undeclared": "may not read .",
    "import_undeclared": "stages.other",
    "write_dep": "may not write data/in.txt",
    "remove_dep": "may not write data/in.txt",
    "write_undeclared": "may not write data/more.txt",
    "write_elsewhere": "stray.txt",
    "fork_read": "may not read data/other.txt",
    "connect": "may not connect to ('127.0.0.1', 9)",
}


def test_every_undeclared_access_is_refused_by_its_name(toy: ToyProject) -> None:
    """One after the other in one stage; it ends by a refusal that it wraps in an error of its own: exit code 5."""
    toy.set("attempt_all")
    done = toy.repro()
    (file,) = (toy.root / ".capillary" / "state").glob("*/said.json")
    said = json.loads(file.read_text())
    assert said.keys() == REFUSED.keys()
    assert {name: text for name, text in said.items() if REFUSED[name] not in text} == {}
    assert "exited with 5" in done.stderr
    assert "may not read data/other.txt" in done.stderr
    assert "remedy:" in done.stderr
    assert_nothing_changed(toy)


def test_a_failing_stage_leaves_the_former_outs_in_place(toy: ToyProject) -> None:
    """DVC removes outs before it runs a stage; after a failure they are as they were. A traceback is not a refusal."""
    assert toy.repro().returncode == 0
    for mode, code in (("crash", 1), ("exit", 9), ("remove_out", 1)):
        toy.set(mode, times=3)
        done = toy.repro()
        assert f"exited with {code}" in done.stderr, mode
        assert "note: the stage was refused" not in done.stderr, mode
        assert toy.out() == "hello\n", mode
        assert toy.leftovers() == [], mode


def test_temporary_files_are_the_stages_own(toy: ToyProject) -> None:
    """A stage may use a temporary folder and a hidden temporary file next to its out; neither is published."""
    toy.set("temporary")
    done = toy.repro()
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (toy.root / "data").iterdir()) == ["in.txt", "other.txt", "out"]


def test_an_unknown_params_key_is_named_with_the_nearest(toy: ToyProject) -> None:
    """A key that no stage reads is refused before anything runs."""
    (toy.root / "params.yaml").write_text("toy: {mode: copy, times: 1, tmes: 2}\n")
    done = toy.repro()
    assert "exited with 3" in done.stderr
    assert "params.yaml [toy] unknown key `tmes`; did you mean `times`?" in done.stderr


def test_a_stage_runs_in_a_temporary_experiment_with_one_store(toy: ToyProject) -> None:
    """`dvc exp run --temp` works in its own workspace, while sandboxes and state stay in the repository."""
    done = toy.run("dvc", "exp", "run", "--temp", "-S", "toy.times=4")
    assert done.returncode == 0, done.stderr
    assert toy.leftovers() == []
    assert not list((toy.root / ".dvc" / "tmp" / "exps").rglob(".capillary"))


def _wait_for_start(toy: ToyProject) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for marker in (toy.root / ".capillary" / "state").glob("*/started"):
            if text := marker.read_text():
                return int(text)
        time.sleep(0.05)
    raise AssertionError("the stage did not start")


def _assert_ends(pid: int, within_s: float) -> None:
    try:
        process = psutil.Process(pid)
        process.wait(within_s)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        pytest.fail(f"the stage outlived its caller by {within_s} s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_reaches_the_stage(toy: ToyProject, number: signal.Signals) -> None:
    """SIGINT and SIGTERM end the stage, and the launcher ends with the code that says so."""
    toy.set("sleep")
    launcher = toy.start("capillary", "stage", "toy", DVC_STAGE="toy", DVC_ROOT=str(toy.root))
    pid = _wait_for_start(toy)
    launcher.send_signal(number)
    launcher.communicate(timeout=30)
    assert launcher.returncode == 128 + number
    _assert_ends(pid, within_s=5)
    assert toy.leftovers() == []
