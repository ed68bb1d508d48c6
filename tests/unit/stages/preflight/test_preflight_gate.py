"""The gate: its checks for each kind of stage, with the thresholds of configs/preflight.yaml."""

import tempfile
import time
from email.utils import formatdate
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from stages.common.machine import gpus
from stages.common.params import load_params
from stages.common.preflight.check import Check, Status
from stages.common.preflight.checks import gpu
from stages.common.preflight.listed import Where
from stages.common.preflight.params import CONFIG_FILE, PreflightParams
from stages.common.runtime import GateRuntime
from stages.preflight.gate import gpu_checks, look
from tests.support.machine import FakeNvml, dead_port, http_server
from tests.support.parts import REPOSITORY
from tests.unit.stages.common.preflight.test_listed import is_listed

PARAMS = load_params(PreflightParams, REPOSITORY / CONFIG_FILE)
SIZES = {
    "ram": "min_available_gb",
    "disk of workspace": "min_free_workspace_gb",
    "disk of runs": "min_free_runs_gb",
    "shared memory": "min_free_gb",
}


def runtime(**changes: Any) -> GateRuntime:
    """The gate of a training that runs as a process, without a GPU or an embedded store."""
    usual = {"gated": "train@dice_ce-0", "gpu": "none", "store": None, "variables": {}}
    return GateRuntime(**(usual | changes))


def changed(**sections: dict[str, Any]) -> PreflightParams:
    """The shipped thresholds with changes; servers are asked only once."""
    patient = {"answers": {"patience_s": 0} | sections.pop("answers", {})}
    changes = {name: getattr(PARAMS, name).model_copy(update=keys) for name, keys in (sections | patient).items()}
    return PARAMS.model_copy(update=changes)


def checks(params: PreflightParams = PARAMS, **changes: Any) -> dict[str, Check]:
    """The gate's checks by name, in order."""
    found = {check.name: check for check in look(params, runtime(**changes)).checks}
    assert all(is_listed(name, Where.GATE) for name in found)
    return found


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with one stage, whose only pin is met."""
    (tmp_path / "stages/train").mkdir(parents=True)
    (tmp_path / "stages/train/requirements.txt").write_text(f"psutil=={version('psutil')}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_process_gets_every_check_of_the_machine() -> None:
    """All checks in order, all of them passed on a healthy machine."""
    found = checks(changed(swap={"max_used_percent": 100}))
    names = ["ram", "shared memory", "swap", "disk of workspace", "packages", "environment of train", "clock"]
    assert list(found) == names
    assert {check.status for check in found.values()} == {Status.PASS}


def test_packages_are_those_of_the_stage(workspace: Path) -> None:
    """From its requirements.txt; without that file, or in a container, the check is left out."""
    assert checks()["packages"].value == "1 as pinned"
    assert "packages" not in checks(gated="predict")
    assert "packages" not in checks(place="container")
    (workspace / "stages/train/requirements.txt").write_text("psutil==0.0.1\n")
    assert checks()["packages"].status is Status.FAIL
    assert checks(changed(packages={"critical": False}))["packages"].status is Status.WARN


def test_the_disks_are_those_that_a_run_writes_to(workspace: Path) -> None:
    """The workspace (in a container the temporary folder), and the embedded store if there is one."""
    store = workspace / "mlruns" / "artifacts"
    assert checks()["disk of workspace"].value.endswith(f"free at {workspace}")
    assert "disk of runs" not in checks()
    found = checks(place="container", store=store)
    assert found["disk of workspace"].value.endswith(f"free at {tempfile.gettempdir()}")
    assert found["disk of runs"].value.endswith(f"free at {store}")


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(("critical", "status"), [(True, Status.FAIL), (False, Status.WARN)])
def test_each_size_has_its_own_threshold(name: str, critical: bool, status: Status) -> None:
    """An impossible threshold fails (or warns in) its own check and none of the others."""
    section = {"ram": "ram", "shared memory": "shared_memory"}.get(name, "disk")
    found = checks(changed(**{section: {SIZES[name]: 1e9, "critical": critical}}), store=Path("mlruns"))
    assert found[name].status is status
    assert [other for other, check in found.items() if check.status is status and other != "swap"] == [name]


def test_answers_of_servers_reach_the_environment_and_the_clock() -> None:
    """A requested login is a missing variable; a server's date reveals a wrong clock."""
    with http_server(login="Basic x", date=formatdate(time.time() + 3600, usegmt=True)) as url:
        found = checks(changed(), variables={"MLFLOW_TRACKING_URI": url})
    assert found["mlflow"].status is Status.WARN
    assert "MLFLOW_TRACKING_USERNAME" in found["environment of train"].value
    assert "behind" in found["clock"].value


@pytest.mark.parametrize(("critical", "status"), [(True, Status.FAIL), (False, Status.WARN)])
def test_a_listed_server_must_answer(critical: bool, status: Status) -> None:
    """Servers listed in configs/preflight.yaml are asked too."""
    params = changed(answers={"critical": critical})
    listed = params.model_copy(update={"services": (f"tcp://127.0.0.1:{dead_port()}",)})
    assert checks(listed)["service 127.0.0.1"].status is status


def test_gpus_come_first_where_the_stage_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only visible GPUs count; a stage without a GPU has no such check."""
    monkeypatch.setattr(gpus, "_nvml", FakeNvml)
    monkeypatch.setattr(gpu, "torch_cuda", lambda default: default)
    seen = checks(gpu="auto", variables={"CUDA_VISIBLE_DEVICES": "1"})
    assert list(seen)[:3] == ["gpu", "gpu memory", "gpu driver"]
    assert seen["gpu"].value == "Model 1 (1)"
    assert not seen["gpu"].critical
    assert "torch has CUDA 13.0" in seen["gpu driver"].value
    assert checks(changed(gpu={"min_free_gb": 1000}), gpu="auto")["gpu memory"].status is Status.FAIL
    assert "gpu" not in checks(gpu="none")


@pytest.mark.parametrize(("asked", "status"), [("auto", Status.WARN), ("required", Status.FAIL)])
def test_a_gpu_that_is_required_must_work(monkeypatch: pytest.MonkeyPatch, asked: str, status: Status) -> None:
    """A broken driver and a missing GPU fail only if a GPU is required."""
    monkeypatch.setattr(gpus, "_nvml", lambda: FakeNvml(FakeNvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH))
    (broken,) = gpu_checks(PARAMS.gpu, runtime(gpu=asked))
    assert (broken.status, broken.value) == (status, "NVML error 18")
    monkeypatch.setattr(gpus, "_nvml", FakeNvml)
    (none,) = gpu_checks(PARAMS.gpu, runtime(gpu=asked, variables={"CUDA_VISIBLE_DEVICES": ""}))
    assert none.status is status


def test_the_driver_is_held_against_the_torch_of_the_next_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's own image has none; the launcher tells which build it chose."""
    monkeypatch.setattr(gpus, "_nvml", FakeNvml)
    driver = {check.name: check for check in gpu_checks(PARAMS.gpu, runtime(gpu="auto", torch_cuda="12.6"))}[
        "gpu driver"
    ]
    assert driver.value == "580.65.06, torch has CUDA 12.6"
    (unused,) = gpu_checks(PARAMS.gpu, runtime(gpu="auto", torch_cuda="cpu"))
    assert "torch has no CUDA" in unused.value


@pytest.mark.parametrize("place", ["process", "container"])
def test_the_gate_writes_on_trial_where_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """The store's folder, and a container's folder for temporary files; a process may not write where it works."""
    places: list[Path] = []
    real = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: places.append(Path(dir)) or real(dir=dir))
    checks(store=tmp_path, place=place)
    assert places == ([Path(tempfile.gettempdir())] if place == "container" else []) + [tmp_path]
