"""Two commits of a DVC repository, compared in a fresh clone as a workflow does."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.parts import REPOSITORY, command_environment
from tests.support.repository import start_repository
from tests.support.warm import with_warm_commands

DVC_YAML = """
stages:
  toy:
    cmd: sh toy.sh
    deps: [toy.sh]
    params: [toy.dsc]
    metrics: [metrics.json]
    plots: [curve.csv: {x: step, y: loss}]
"""
TOY = """
dsc=$(sed -n 's/.*dsc: //p' params.yaml)
echo "{\\"dice_ce\\": {\\"dsc\\": $dsc}}" > metrics.json
printf 'step,loss\\n0,1\\n1,%s\\n' "$dsc" > curve.csv
"""
FILES = {"dvc.yaml": DVC_YAML, "toy.sh": TOY, ".gitignore": "/metrics.json\n/curve.csv\n"}


def _run(folder: Path, *argv: str) -> str:
    environment = with_warm_commands(command_environment(PYTHONPATH=str(REPOSITORY)))
    done = subprocess.run(argv, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of two commits with results in a remote, and of a third that changes a param without a run."""
    folder = tmp_path_factory.mktemp("compare")
    root = folder / "toy"
    start_repository(root)
    for name, text in FILES.items():
        (root / name).write_text(text)
    (root / ".dvc" / "config").write_text(f"[core]\n    remote = r\n['remote \"r\"']\n    url = {folder / 'remote'}\n")
    for dsc, ran in (("0.8", True), ("0.9", True), ("0.95", False)):
        (root / "params.yaml").write_text(f"toy:\n  dsc: {dsc}\n")
        if ran:
            _run(root, "dvc", "repro", "--quiet")
        _run(root, "git", "add", "-A")
        _run(root, "git", "commit", "-qm", dsc)
    _run(root, "dvc", "push", "--quiet", "--all-commits")
    _run(folder, "git", "clone", "-q", str(root), str(folder / "clone"))
    return folder / "clone"


def _compare(clone: Path, base: str, head: str, out: Path) -> str:
    _run(clone, sys.executable, "-m", "scripts.ci.compare", base, head, "--out", str(out))
    return (out / "comment.md").read_text()


def test_two_runs_are_compared_from_the_remote(clone: Path, tmp_path: Path) -> None:
    """Metrics, params and plots of both commits, with nothing but Git and the remote."""
    comment = _compare(clone, "HEAD~2", "HEAD~1", tmp_path / "out")
    assert "| `metrics.json` | `dice_ce.dsc` | `0.8` | `0.9` | `+0.1` |" in comment
    assert "| `params.yaml` | `toy.dsc` | `0.8` | `0.9` | `+0.1` |" in comment
    assert not any(line.startswith(">") for line in comment.splitlines())
    assert "Plots of both commits: `plots/index.html`" in comment
    assert "curve.csv" in (tmp_path / "out" / "plots" / "index.html").read_text()
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["unreadable"] == []


def test_what_is_missing_is_said(clone: Path, tmp_path: Path) -> None:
    """A param that changed alone leaves the old metrics; and without the remote DVC calls it a success to read none."""
    (clone / ".dvc" / "config.local").write_text(f"['remote \"r\"']\n    url = {clone.parent / 'missing'}\n")
    shutil.rmtree(clone / ".dvc" / "cache", ignore_errors=True)
    comment = _compare(clone, "HEAD~1", "HEAD", tmp_path / "out")
    assert "`dvc.lock` is the same in both commits" in comment
    assert "DVC could not read everything" in comment
    assert "Plots of both commits" not in comment
    assert "| `params.yaml` | `toy.dsc` | `0.9` | `0.95` | `+0.05` |" in comment
