"""Where a project may lie and how DVC may be set up: the same stage, the same result."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import DEVNULL

import psutil
import pytest

from tests.support.parts import require
from tests.support.processes import processes_in
from tests.support.toy import ToyProject
from tests.support.warm import with_warm_commands

MakeToy = Callable[..., ToyProject]
MODES = """
def fine(state):
    text = Path("data/in.txt").read_text() + Path("data/in.txt").resolve().read_text()
    (OUT / "text").write_text(text)

def slow(state):
    time.sleep(2)
    fine(state)

def over_the_dep(state):
    Path("data/in.txt").write_text("changed")

def big(state):
    for number in range(6):
        (OUT / str(number)).write_bytes(bytes(1_000_000))
"""
TWO_STAGES = """
stages:
  make: {cmd: mkdir -p data/made && echo made > data/made/a.txt, deps: [data/in.txt], outs: [data/made]}
  toy:
    cmd: capillary stage toy
    deps: [data/in.txt, data/made, stages/toy, stages/common, stages/__init__.py]
    params: [toy.mode, toy.times]
    outs: [data/out]
"""


@pytest.mark.parametrize("cache_type", ["symlink", "hardlink", "copy"])
def test_every_way_in_which_dvc_links_its_cache(make_toy: MakeToy, cache_type: str) -> None:
    """A dep may be a link into the cache: it can be read under every name, and never written."""
    toy = make_toy(MODES.replace("data/in.txt", "data/made/a.txt"))
    (toy.root / "dvc.yaml").write_text(TWO_STAGES)
    with (toy.root / ".dvc/config").open("a") as config:
        config.write(f"[cache]\n    type = {cache_type}\n")
    toy.set("fine")
    done = toy.repro()
    assert done.returncode == 0, done.stderr
    assert toy.out("text") == "made\nmade\n"
    toy.set("over_the_dep")
    done = toy.repro()
    assert "may not write data/made/a.txt" in done.stderr
    assert (toy.root / "data/made/a.txt").read_text() == "made\n"
    assert toy.out("text") == "made\nmade\n"


def test_a_workspace_entered_through_a_link(make_toy: MakeToy, tmp_path: Path) -> None:
    """`cd` through a symbolic link changes no path that counts."""
    toy = make_toy(MODES)
    (tmp_path / "link").symlink_to(toy.root)
    toy.set("fine")
    environment = with_warm_commands(toy.environment(PWD=str(tmp_path / "link")))
    done = subprocess.run(["dvc", "repro"], cwd=tmp_path / "link", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert toy.out("text") == "hello\nhello\n"


def test_a_dep_beside_the_workspace(make_toy: MakeToy, tmp_path: Path) -> None:
    """ingest.source may be ../stacks."""
    toy = make_toy(MODES.replace("data/in.txt", "../stacks of mine/x.txt"))
    (tmp_path / "stacks of mine").mkdir()
    (tmp_path / "stacks of mine" / "x.txt").write_text("beside")
    dvc_yaml = toy.root / "dvc.yaml"
    dvc_yaml.write_text(dvc_yaml.read_text().replace("data/in.txt", "../stacks of mine"))
    toy.set("fine")
    done = toy.repro()
    assert done.returncode == 0, done.stderr
    assert toy.out("text") == "besidebeside"


@pytest.fixture
def start_queue() -> Iterator[Callable[[ToyProject], None]]:
    """`dvc queue start -j 2`, whose workers are ended after the test.

    They would end by themselves, but one may miss the message that says so: both enter themselves in one file of
    kombu's, and the second can overwrite the first. Their output goes nowhere, or `dvc queue start` would seem to last
    as long as they do.
    """
    started = []

    def start(toy: ToyProject) -> None:
        started.append(toy.root)
        argv = ["dvc", "queue", "start", "-j", "2"]
        subprocess.run(argv, cwd=toy.root, env=toy.environment(), check=True, stdout=DEVNULL, stderr=DEVNULL)

    yield start
    for root in started:
        for process in processes_in(root):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def test_queued_experiments_run_side_by_side(make_toy: MakeToy, start_queue: Callable[[ToyProject], None]) -> None:
    """Two workers of `dvc queue`, each in its own workspace; sandboxes are in the repository and are removed."""
    toy = make_toy(MODES)
    toy.set("fine")
    toy.run("git", "add", "-A")
    toy.run("git", "commit", "-qm", "modes")
    for times in ("2", "3"):
        assert (
            toy.run("dvc", "exp", "run", "--queue", "-S", f"toy.times={times}", "-S", "toy.mode=slow").returncode == 0
        )
    start_queue(toy)
    deadline = time.monotonic() + 90
    while (status := toy.run("dvc", "queue", "status").stdout).count("Success") < 2:
        assert "Failed" not in status, status
        assert time.monotonic() < deadline, status
        time.sleep(1)
    assert toy.leftovers() == []
    assert list(toy.root.rglob(".capillary")) == [toy.root / ".capillary"]


def test_cells_run_side_by_side(make_toy: MakeToy) -> None:
    """Several `dvc repro -s` at once share the folder of sandboxes and leave each other's alone."""
    toy = make_toy(MODES)
    (toy.root / "dvc.yaml").write_text(
        "stages:\n  toy:\n    matrix: {cell: [a, b, c]}\n    cmd: capillary stage toy --cell ${item.cell}\n"
        "    deps: [data/in.txt, stages]\n    params: [toy.mode, toy.times]\n    outs: ['data/out${item.cell}']\n"
    )
    toy.set("slow")
    runs = []
    for cell in "abc":
        runs.append(toy.start_warm("dvc", "repro", "-s", f"toy@{cell}"))
        time.sleep(0.7)
    outputs = [run.communicate(timeout=90)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    assert all((toy.root / f"data/out{cell}/text").read_text() == "hello\nhello\n" for cell in "abc")
    assert toy.leftovers() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(argv, check=False, capture_output=True).returncode == 0
    require(mounted, "the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_full_while_outs_are_published(make_toy: MakeToy, small_disk: Path, tmp_path: Path) -> None:
    """The outs are on another disk than the sandbox: the copy fails, the previous outs are back, nothing is left
    over.
    """
    toy = make_toy(MODES)
    (small_disk / "in.txt").write_text("hello\n")
    subprocess.run(["mount", "--bind", str(small_disk), str(toy.root / "data")], check=True)
    try:
        toy.set("fine")
        done = toy.repro()
        assert done.returncode == 0, done.stderr
        toy.set("big")
        done = toy.repro()
        assert "exited with 6" in done.stderr
        assert "the disk is full" in done.stderr
        assert toy.out("text") == "hello\nhello\n"
        assert sorted(path.name for path in (toy.root / "data").iterdir()) == ["in.txt", "out"]
    finally:
        subprocess.run(["umount", "--lazy", str(toy.root / "data")], check=True)


def test_a_workspace_that_cannot_be_written(make_toy: MakeToy, tmp_path: Path) -> None:
    """The message names the folder, whatever the launcher tried first."""
    toy = make_toy(MODES)
    toy.set("fine")
    argv = ["mount", "--bind", str(toy.root), str(toy.root)]
    mounted = os.geteuid() == 0 and subprocess.run(argv, check=False, capture_output=True).returncode == 0
    require(mounted, "the right to mount a folder")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(toy.root)], check=True)
        done = toy.run("capillary", "stage", "toy", DVC_STAGE="toy", DVC_ROOT=str(toy.root))
    finally:
        subprocess.run(["umount", "--lazy", str(toy.root)], check=True)
    assert done.returncode == 6
    assert "read-only" in done.stderr
    assert ".capillary" in done.stderr
