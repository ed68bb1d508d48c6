"""A workspace, its sandbox and the guard of a stage in it."""

import os
from pathlib import Path

import pytest

from capillary.executors.process.guard import Guard, Policy


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A workspace with an interpreter inside, a sandbox in it with linked deps, and the world around."""
    root = tmp_path / "project"
    work = root / ".capillary/sandbox/toy-1/files/project"
    places = {
        "root": root,
        "work": work,
        "base": root / ".capillary/sandbox/toy-1",
        "tmp": tmp_path / "tmp",
        "state": root / ".capillary/state/toy",
        "home": tmp_path / "home",
        "world": tmp_path / "world",
    }
    data = ("in.txt", "raw/a.tif", "raw/sub/b.tif", "other.txt", "former/x")
    for name in (*(f"data/{name}" for name in data), ".venv/m.py", "stages/other.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for folder in ("tmp", "state", "home", "world"):
        places[folder].mkdir(parents=True)
        (places[folder] / "x.txt").touch()
    (work / "data/out").mkdir(parents=True)
    for name in ("data/in.txt", "data/raw"):
        (work / name).symlink_to(root / name)
    (work / "params.yaml").touch()
    return places


@pytest.fixture
def policy(places: dict[str, Path], tmp_path: Path) -> Policy:
    root, work = places["root"], places["work"]
    return Policy(
        address="toy@a",
        launcher_pid=os.getpid(),
        network="none",
        base=str(places["base"]),
        work=str(work),
        home=str(places["home"]),
        forbidden=(str(root),),
        readable=("/usr", "/etc", str(root / ".venv"), str(root / "data/in.txt"), str(root / "data/raw")),
        writable=(str(places["tmp"]), str(places["state"])),
        outs=(str(work / "data/out"), str(work / "data/former")),
        record=str(tmp_path / "refused.jsonl"),
    )


@pytest.fixture
def guard(policy: Policy, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Guard:
    monkeypatch.chdir(places["work"])
    return Guard(policy)
