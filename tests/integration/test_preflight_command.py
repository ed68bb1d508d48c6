"""`capillary preflight` in a clone, as a user types it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.clone import Clone
from tests.support.machine import dead_port, fake_smi
from tests.support.parts import command_environment


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A fresh clone."""
    return Clone(tmp_path_factory.mktemp("preflight") / "clone")


def _checks(clone: Clone, *words: str, **variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = clone.run("capillary", "preflight", "--json", *words, check=False, **variables)
    report = json.loads(done.stdout)
    assert report["failed"] is (done.returncode == 9)
    return done.returncode, {check["name"]: check for check in report["checks"]}


def test_a_healthy_machine_passes(clone: Clone) -> None:
    """Exit code 0, JSON alone on stdout, every subject looked at."""
    code, checks = _checks(clone)
    assert code == 0, checks
    subjects = {name.split(" ")[0] for name in checks}
    wanted = "git params data source folds network docker mlflow gpu ram shared swap disk packages environment clock"
    assert subjects >= set(wanted.split())


def test_a_fault_ends_with_9_and_a_line_that_names_it(clone: Clone) -> None:
    """A dead MLflow server, as a person sees it."""
    uri = f"http://127.0.0.1:{dead_port()}"
    done = clone.run("capillary", "preflight", check=False, MLFLOW_TRACKING_URI=uri, CAPILLARY_TRACKING="required")
    assert done.returncode == 9
    assert f"fail mlflow: {uri} does not answer" in done.stdout


def test_a_gpu_that_is_required(clone: Clone, tmp_path: Path) -> None:
    """A machine without one fails; a GPU without memory fails; each names its remedy. nvidia-smi is a fake here."""
    fake_smi(tmp_path, "0, GPU-0abc, NVIDIA RTX A2000, 8192, 100, 595.10.01")
    none = tmp_path / "none"
    fake_smi(none, "No devices were found", code=6)
    path = command_environment()["PATH"]
    code, checks = _checks(clone, "--require-gpu", PATH=f"{none}:{path}")
    assert (code, checks["gpu"]["status"], checks["gpu"]["critical"]) == (9, "fail", True)
    _, checks = _checks(clone, PATH=f"{tmp_path}:{path}")
    seen = checks.get("gpu memory", checks["gpu"])  # a torch without CUDA says so instead
    assert "A2000" in checks["gpu"]["value"]
    assert seen["status"] in {"fail", "warn"}


def test_a_missing_source_and_a_missing_key(clone: Clone) -> None:
    """What `ingest` would stop at is told before."""
    params = clone.root / "params.yaml"
    former = params.read_text()
    try:
        params.write_text(former.replace("source: samples/phantom", "source: no/such/folder"))
        code, checks = _checks(clone)
        assert (code, checks["data"]["value"]) == (9, "missing: no/such/folder")
    finally:
        params.write_text(former)


def test_wrong_params_and_a_wrong_address(clone: Clone) -> None:
    """Both are told at once, with what was meant."""
    params = clone.root / "params.yaml"
    former = params.read_text()
    try:
        params.write_text(former.replace("losses: [dice_ce]", "losses: dice_ce"))
        code, checks = _checks(clone, MLFLOW_TRACKING_URI="localhost:5000")
        assert (code, checks["params"]["status"], checks["mlflow"]["status"]) == (9, "fail", "fail")
        assert "-S 'training.losses=[dice_ce]'" in checks["params"]["remedy"]
        assert "http://localhost:5000" in checks["mlflow"]["remedy"]
    finally:
        params.write_text(former)


def test_a_misspelt_threshold_is_refused(clone: Clone) -> None:
    """As every key of every file here."""
    config = clone.root / "configs/preflight.yaml"
    former = config.read_text()
    try:
        config.write_text(former.replace("min_available_gb", "min_availabel_gb"))
        done = clone.run("capillary", "preflight", check=False)
        assert done.returncode == 3
        assert "did you mean `min_available_gb`" in done.stderr
    finally:
        config.write_text(former)
