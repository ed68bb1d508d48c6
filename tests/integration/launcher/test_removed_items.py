"""An item that a matrix lost: its outs count nowhere any more, in the workspace and in every clone of it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.toy import ToyProject
from tests.support.warm import with_warm_commands

DVC_YAML = """
stages:
  train:
    matrix:
      item: ${toy.items}
    cmd: sh train.sh ${item.item}
    deps: [data/in.txt]
    outs:
      - models/${item.item}/fold_0.json
    plots:
      - curves/${item.item}/fold_0.csv
  toy:
    cmd: capillary stage toy
    deps: [models, data/in.txt, stages/toy, stages/common, stages/__init__.py]
    params: [toy.mode, toy.times, toy.items]
    outs: [data/out]
"""
TRAIN = """
mkdir -p models/$1 curves/$1
echo "{\\"$1\\": 1}" > models/$1/fold_0.json
echo $1 > curves/$1/fold_0.csv
echo $1 >> "$TOY_ROOT/../trained.txt"
"""
CLEAN = "Data and pipelines are up to date."


def set_items(toy: ToyProject, *items: str) -> None:
    (toy.root / "params.yaml").write_text(f"toy: {{mode: copy, times: 1, items: [{', '.join(items)}]}}\n")


def repro(toy: ToyProject, *items: str) -> str:
    """What DVC and the stages say of a run with `items`; what DVC says of the workspace then must be `CLEAN`."""
    set_items(toy, *items)
    done = toy.repro()
    assert done.returncode == 0, done.stdout + done.stderr
    assert toy.run("dvc", "status").stdout.strip() == CLEAN
    return " ".join((done.stdout + done.stderr).split())


def git(folder: Path, *argv: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t", *argv], cwd=folder, check=True)


@pytest.fixture(scope="module")
def both_trained(tmp_path_factory: pytest.TempPathFactory) -> ToyProject:
    """Two items, trained; DVC pushes to a folder."""
    toy = ToyProject(tmp_path_factory.mktemp("items") / "toy")
    (toy.root / "dvc.yaml").write_text(DVC_YAML)
    (toy.root / "train.sh").write_text(TRAIN)
    (toy.root / ".gitignore").write_text("/.capillary/\n/data/out\n/models/*\n/curves/*\n")
    (toy.root / ".dvc/config").write_text("[core]\n    remote = far\n['remote \"far\"']\n    url = ../../far\n")
    repro(toy, "a", "b")
    git(toy.root, "add", "-A")
    git(toy.root, "commit", "-qm", "a and b")
    return toy


@pytest.fixture
def toy(both_trained: ToyProject, tmp_path: Path) -> ToyProject:
    """A copy of it, with its record of trainings."""
    shutil.copy(both_trained.root.parent / "trained.txt", tmp_path)
    return both_trained.copy(tmp_path / "toy")


def dvc_in(folder: Path, toy: ToyProject, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = with_warm_commands(toy.environment())
    return subprocess.run(["dvc", *argv], cwd=folder, env=environment, check=False, capture_output=True, text=True)


def trained(toy: ToyProject) -> list[str]:
    return (toy.root.parent / "trained.txt").read_text().split()


def test_a_clone_of_a_project_that_lost_an_item_has_nothing_to_run(toy: ToyProject, tmp_path: Path) -> None:
    """Its outs leave the folders that others depend on, so the hash of the folder is one that a clone can have.

    When the item comes back, so do its outs, and nothing is trained twice.
    """
    said = repro(toy, "a")
    assert "models/b/fold_0.json" in said
    assert sorted(path.name for path in (toy.root / "models").iterdir()) == ["a"]
    assert not (toy.root / "curves/b").exists()
    git(toy.root, "commit", "-qam", "a alone")
    assert toy.run("dvc", "push").returncode == 0
    subprocess.run(["git", "clone", "-q", toy.root, tmp_path / "clone"], check=True)
    assert dvc_in(tmp_path / "clone", toy, "pull").returncode == 0
    assert dvc_in(tmp_path / "clone", toy, "status").stdout.strip() == CLEAN

    repro(toy, "a", "b")
    assert (toy.root / "models/b/fold_0.json").read_text() == '{"b": 1}\n'
    assert (toy.root / "curves/b/fold_0.csv").is_file()
    assert trained(toy) == ["a", "b"]


def test_what_is_in_no_cache_is_kept_aside(toy: ToyProject) -> None:
    """A card that somebody changed, a file that no stage made: moved and named, never removed."""
    (toy.root / "models/b/fold_0.json").chmod(0o644)
    (toy.root / "models/b/fold_0.json").write_text("mine")
    (toy.root / "models/notes.txt").write_text("mine too")
    said = repro(toy, "a")
    aside = toy.root / ".capillary/aside/models"
    assert (aside / "b/fold_0.json").read_text() == "mine"
    assert (aside / "notes.txt").read_text() == "mine too"
    assert "models/notes.txt, which no stage makes" in said
    assert [path.name for path in (toy.root / "models").iterdir()] == ["a"]
