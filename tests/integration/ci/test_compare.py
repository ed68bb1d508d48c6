"""Two commits of a DVC repository, compared in a fresh clone as a workflow does."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
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
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
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
    yield folder / "clone"
    shutil.rmtree(folder)


def _compare(clone: Path, base: str, head: str, out: Path) -> str:
    _run(clone, sys.executable, "-m", "scripts.ci.compare", base, head, "--out", str(out))
    return (out / "comment.md").read_text()


def test_two_runs_are_compared_from_the_remote(clone: Path, tmp_path: Path) -> None:
    """Metrics, params and plots of both commits, with nothing but Git and the remote."""
    comment = _compare(clone, "HEAD~2", "HEAD~1", tmp_path / "out")
    assert "| `metrics.json` | `dice_ce.dsc` | `0.8` | `0.9` | `+0.1` |" in comment
    assert "| `params.yaml` | `toy.dsc` | `0.8` | `0.9` | `+0.1` |" in comment
    assert not any(line.startswith(">") for line in comment.splitlines())
    assert "curve.csv" in (tmp_path / "out" / "plots" / "index.html").read_text()
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["unreadable"] == []


def test_a_change_without_a_run_is_said(clone: Path, tmp_path: Path) -> None:
    """A param that changed alone leaves dvc.lock, and so the metrics, as they were."""
    comment = _compare(clone, "HEAD~1", "HEAD", tmp_path / "out")
    assert "`dvc.lock` is the same in both commits" in comment
    assert "`toy.dsc`" in comment


def test_results_that_were_not_pushed_are_said(clone: Path, tmp_path: Path) -> None:
    """DVC calls this a success; the comment does not."""
    remote = clone.parent / "remote"
    (clone / ".dvc" / "config.local").write_text(f"['remote \"r\"']\n    url = {remote}-missing\n")
    shutil.rmtree(clone / ".dvc" / "cache", ignore_errors=True)
    try:
        comment = _compare(clone, "HEAD~2", "HEAD~1", tmp_path / "out")
    finally:
        (clone / ".dvc" / "config.local").unlink()
    assert "DVC could not read everything" in comment
    assert "`toy.dsc`" in comment
