"""The experiment of a workflow: its file is checked, its results are laid out, its exit code is kept."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.parts import REPOSITORY

JUST = """#!/bin/sh
echo "$*" > asked
mkdir -p reports/smoke metrics .capillary/logs
echo page > reports/smoke/report.html
echo '# smoke' > reports/smoke/report.md
echo '{}' > metrics/metrics.json
echo log > '.capillary/logs/train a.log'
exit 10
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one experiment file, a `just` that fails after it wrote, and a report of a previous run."""
    root = tmp_path / "checkout"
    (root / "configs" / "experiments").mkdir(parents=True)
    (root / "configs" / "experiments" / "smoke.yaml").write_text("experiment: {name: smoke}\n")
    (root / "configs" / "compute.yaml").write_text("")
    (root / "just").write_text(JUST)
    (root / "just").chmod(0o755)
    (root / "reports" / "old").mkdir(parents=True)
    (root / "reports" / "old" / "report.md").write_text("# old\n")
    os.utime(root / "reports" / "old" / "report.md", (1, 1))
    return root


def _run(root: Path, config: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CONFIG": config, "OUT": str(root.parent / "out"), **more}
    environment["GITHUB_STEP_SUMMARY"] = str(root.parent / "summary.md")
    argv = ["sh", str(REPOSITORY / "scripts" / "ci" / "experiment.sh")]
    return subprocess.run(argv, cwd=root, env=environment, check=False, capture_output=True, text=True)


def test_results_are_kept_and_the_exit_code_is_the_experiment_s(checkout: Path) -> None:
    """Also of a run that failed, and nothing of previous runs."""
    assert _run(checkout, "configs/experiments/smoke.yaml").returncode == 10
    out = checkout.parent / "out"
    files = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    reports = {"reports/smoke/report.html", "reports/smoke/report.md"}
    assert files == reports | {"metrics/metrics.json", "capillary/logs/train a.log"}
    assert (checkout.parent / "summary.md").read_text() == "# smoke\n"
    assert (checkout / "asked").read_text() == "experiment --config configs/experiments/smoke.yaml\n"


def test_a_rehearsal_is_asked_for(checkout: Path) -> None:
    """DEBUG=true takes the recipe for it."""
    _run(checkout, "configs/experiments/smoke.yaml", DEBUG="true")
    assert (checkout / "asked").read_text().startswith("experiment-debug ")


@pytest.mark.parametrize(
    "config",
    ["", "configs/compute.yaml", "configs/experiments/none.yaml", "configs/experiments/../compute.yaml", "--help"],
)
def test_another_file_is_refused(checkout: Path, config: str) -> None:
    """Before anything runs, with the remedy."""
    done = _run(checkout, config)
    assert done.returncode == 2
    assert "remedy: name one below configs/experiments" in done.stderr
    assert not (checkout / "asked").exists()
