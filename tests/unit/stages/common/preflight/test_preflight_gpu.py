"""GPUs: detection, free memory, and whether torch can use them."""

import importlib.util
import re
import runpy
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.common.machine import gpus
from stages.common.machine.gpus import (
    DriverBrokenError,
    Gpu,
    ask_nvml,
    ask_smi,
    find_devices,
    loaded_driver,
    parse_smi,
    visible_of,
)
from stages.common.preflight.check import Status
from stages.common.preflight.checks.gpu import broken, check_driver, check_gpu, torch_cuda
from stages.common.preflight.params import GpuParams
from tests.support.machine import GIB, FakeNvml, fake_smi
from tests.support.parts import REPOSITORY

PARAMS = GpuParams(critical=True, min_free_gb=2, torch_cuda="13.0")
GPU = Gpu(index=0, uuid="GPU-0abc", name="RTX", memory_bytes=8 * GIB, free_bytes=6 * GIB, driver="580.65.06")
SMI_LINE = "0, GPU-0abc, NVIDIA RTX A2000, 8192, 6144, 535.129.03"


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH but for sh: where a fake nvidia-smi goes."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_no_gpu_fails_only_where_one_is_required() -> None:
    """Training runs on a CPU, too, unless the user says that it must not."""
    (optional,) = check_gpu((), PARAMS, "13.0", required=False)
    (required,) = check_gpu((), PARAMS, "13.0", required=True)
    assert (optional.status, required.status) == (Status.WARN, Status.FAIL)
    assert "nvidia-smi" in required.remedy


def test_a_good_gpu_passes() -> None:
    """Present, with memory, with a driver that torch can use."""
    checks = check_gpu((GPU,), PARAMS, "13.0", required=True)
    assert [check.name for check in checks] == ["gpu", "gpu memory", "gpu driver"]
    assert {check.status for check in checks} == {Status.PASS}


def test_a_gpu_whose_memory_is_taken_fails() -> None:
    """The best of them counts; the message names it."""
    full = replace(GPU, free_bytes=GIB)
    found = {check.name: check for check in check_gpu((full, replace(full, index=1)), PARAMS, "13.0", required=False)}
    assert found["gpu memory"].status is Status.FAIL
    assert found["gpu memory"].value == "1.07 GB free of 8.6 on GPU 1"
    assert found["gpu"].value == "RTX (0), RTX (1)"
    assert check_gpu((full, GPU), PARAMS, "13.0", required=False)[1].status is Status.PASS
    soft = PARAMS.model_copy(update={"critical": False})
    assert check_gpu((full,), soft, "13.0", required=True)[1].status is Status.WARN


@pytest.mark.parametrize(
    ("driver", "cuda", "status"),
    [
        ("580.65.06", "13.0", Status.PASS),
        ("580.65.05", "13.0", Status.FAIL),
        ("550.90.07", "13.0", Status.FAIL),
        ("550.90.07", "12.6", Status.PASS),
        ("525.60.13", "12.8", Status.PASS),
        ("520.61.05", "12.1", Status.FAIL),
        ("450.80.02", "11.8", Status.PASS),
        ("600.1", "14.0", Status.WARN),
    ],
)
def test_the_driver_is_new_enough_for_torch(driver: str, cuda: str, status: Status) -> None:
    """NVIDIA's table of minor version compatibility, row by row; versions compare as numbers."""
    check = check_driver(driver, cuda, critical=True)
    assert check.status is status
    assert check.value == f"{driver}, torch has CUDA {cuda}"
    if status is Status.FAIL:
        assert check.threshold.removeprefix("at least ") in check.remedy
        assert check_driver(driver, cuda, critical=False).status is Status.WARN


@pytest.mark.parametrize(
    ("driver", "remedy"),
    [
        ("575.57.08", "update the driver to 580.65.06 or newer, or take a build of torch for CUDA 12: "),
        ("470.82.01", "update the driver to 580.65.06 or newer, or take a build of torch for CUDA 11: "),
        ("390.10", "update the driver to 580.65.06 or newer"),
    ],
)
def test_an_old_driver_is_told_which_torch_it_runs(driver: str, remedy: str) -> None:
    """Who may not update a driver can still use the GPU; where no build is old enough, none is told."""
    told = check_driver(driver, "13.0", critical=True).remedy
    assert told.startswith(remedy)
    assert ("CAPILLARY_TORCH_INDEX_CU1" in told) is (":" in remedy)


@pytest.mark.parametrize(("required", "status"), [(True, Status.FAIL), (False, Status.WARN)])
def test_a_loaded_driver_is_checked_where_no_gpu_is_given(required: bool, status: Status) -> None:
    """As in a container without the toolkit: after its installation the next run would meet the driver."""
    none, driver = check_gpu((), PARAMS, "13.0", required=required, loaded="535.129.03")
    assert (none.name, driver.name, driver.status) == ("gpu", "gpu driver", status)
    assert len(check_gpu((), PARAMS, "cpu", required=required, loaded="535.129.03")) == 1


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n", "535.129.03"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs)\n"
            "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n",
            "580.65.06",
        ),
        ("something else 1.2.3\n", None),
        (None, None),
    ],
)
def test_the_loaded_driver_is_read_from_the_kernel(tmp_path: Path, text: str | None, version: str | None) -> None:
    """The proprietary and the open module; it needs neither NVML nor nvidia-smi."""
    if text is not None:
        (tmp_path / "version").write_text(text)
    assert loaded_driver(tmp_path / "version") == version


def test_a_torch_without_cuda_cannot_use_a_gpu() -> None:
    """A driver is of no use to it: that fails where a GPU is required."""
    assert check_gpu((GPU,), PARAMS, "cpu", required=True)[0].status is Status.FAIL
    assert check_gpu((GPU,), PARAMS, "cpu", required=False)[0].status is Status.WARN


def test_nvml_is_asked_first() -> None:
    """Index, name, memory and driver of each GPU, and the library is closed again."""
    nvml = FakeNvml()
    found = ask_nvml(nvml)
    assert found is not None
    assert [(gpu.index, gpu.name, gpu.free_bytes, gpu.driver) for gpu in found] == [
        (0, "Model 0", GIB, "580.65.06"),
        (1, "Model 1", 2 * GIB, "580.65.06"),
    ]
    assert [(gpu.uuid, gpu.memory_bytes) for gpu in found] == [("GPU-0abc", 8 * GIB), ("GPU-1abc", 8 * GIB)]
    assert nvml.open == 0


def test_nvml_without_a_driver_counts_as_missing() -> None:
    """None, so that nvidia-smi is asked instead."""
    assert ask_nvml(None) is None
    assert ask_nvml(FakeNvml(FakeNvml.NVML_ERROR_LIBRARY_NOT_FOUND)) is None
    assert ask_nvml(FakeNvml(FakeNvml.NVML_ERROR_DRIVER_NOT_LOADED)) is None


def test_without_nvml_nvidia_smi_is_asked(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both tell the same."""
    fake_smi(smi, SMI_LINE)
    nvml = FakeNvml(FakeNvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    monkeypatch.setattr(gpus, "_nvml", lambda: nvml)
    (gpu,) = find_devices(None)
    assert (gpu.name, gpu.driver) == ("NVIDIA RTX A2000", "535.129.03")
    assert (gpu.memory_bytes, gpu.free_bytes) == (8 * GIB, 6 * GIB)
    assert find_devices("GPU-0") == (gpu,)
    assert find_devices("1") == ()


@pytest.mark.usefixtures("smi")
def test_without_either_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a driver is no error."""
    monkeypatch.setattr(gpus, "_nvml", lambda: None)
    assert find_devices(None) == ()


def test_a_driver_that_does_not_answer_is_told(smi: Path) -> None:
    """After an update of driver or kernel, before the reboot: both ways of asking say so."""
    with pytest.raises(DriverBrokenError, match="NVML error 18"):
        ask_nvml(FakeNvml(FakeNvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH))
    fake_smi(smi, "Failed to initialize NVML: Driver/library version mismatch", code=18)
    with pytest.raises(DriverBrokenError, match="version mismatch") as caught:
        ask_smi()
    check = broken(str(caught.value), required=True)
    assert (check.status, check.value) == (Status.FAIL, str(caught.value))
    assert "reboot" in check.remedy
    assert broken("x", required=False).status is Status.WARN
    fake_smi(smi, code=3)
    with pytest.raises(DriverBrokenError, match="nvidia-smi ended with 3"):
        ask_smi()


def test_an_nvidia_smi_that_hangs_is_an_error(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken driver may never answer: the call has a timeout."""
    monkeypatch.setattr(gpus, "SMI_TIMEOUT_S", 0.05)
    (smi / "nvidia-smi").write_text("#!/bin/sh\nwhile :; do :; done\n")
    (smi / "nvidia-smi").chmod(0o755)
    with pytest.raises(DriverBrokenError, match=r"does not end within 0\.05 s"):
        ask_smi()


def test_a_gpu_that_shares_the_machine_s_memory_has_none_of_its_own(smi: Path) -> None:
    """As in a DGX Spark: NVML does not support the question, nvidia-smi answers [N/A]; the check of RAM counts."""
    by_nvml = ask_nvml(FakeNvml(memory_fault=FakeNvml.NVML_ERROR_NOT_SUPPORTED))
    fake_smi(smi, "0, GPU-0abc, NVIDIA GB10, [N/A], [N/A], 580.95.05")
    assert by_nvml is not None
    for found in (by_nvml, ask_smi()):
        checks = {check.name: check for check in check_gpu(found, PARAMS, "13.0", required=True)}
        assert checks["gpu memory"].status is Status.PASS
        assert "shares" in checks["gpu memory"].value
    faulty = FakeNvml(memory_fault=999)
    with pytest.raises(DriverBrokenError):
        ask_nvml(faulty)
    assert faulty.open == 0
    one = check_gpu((GPU, replace(GPU, memory_bytes=None, free_bytes=None)), PARAMS, "13.0", required=True)[1]
    assert (one.status, "shares" in one.value) == (Status.PASS, True)


def test_what_nvidia_smi_says_and_nobody_understands_is_told(smi: Path) -> None:
    """No traceback from a format that changed."""
    fake_smi(smi, "something, else")
    with pytest.raises(DriverBrokenError, match="something, else"):
        ask_smi()


def test_nvidia_smi_without_a_gpu(smi: Path) -> None:
    """It ends with an error then."""
    fake_smi(smi, "No devices were found", code=6)
    assert ask_smi() == ()


def test_several_gpus_are_several_lines() -> None:
    """Empty lines are skipped; an unsupported size is None."""
    first, second = parse_smi(f"\n{SMI_LINE}\n\n1, GPU-1, Tesla, [Not Supported], [N/A], 535.1\n")
    assert first.memory_bytes == 8 * GIB
    assert (second.index, second.uuid, second.name, second.driver) == (1, "GPU-1", "Tesla", "535.1")
    assert (second.memory_bytes, second.free_bytes) == (None, None)


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        (None, [0, 1]),
        ("0", [0]),
        ("1,0", [1, 0]),
        (" 1 , 0 ", [1, 0]),
        ("", []),
        ("-1", []),
        ("GPU-1", [1]),
        ("GPU-", []),  # ambiguous
        ("7,0", []),
        ("0,7,1", [0]),
        ("0,,1", [0]),
    ],
)
def test_hidden_gpus_do_not_count(visible: str | None, indices: list[int]) -> None:
    """CUDA_VISIBLE_DEVICES, as CUDA reads it."""
    both = (GPU, replace(GPU, index=1, uuid="GPU-1abc"))
    assert [gpu.index for gpu in visible_of(both, visible)] == indices


def test_the_cuda_of_torch_is_read_without_importing_it() -> None:
    """It agrees with torch's own version module."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        pytest.skip("needs torch")
    told = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    assert torch_cuda("?") == (told["cuda"] or "cpu")


@pytest.mark.parametrize(
    ("text", "cuda"),
    [
        ("debug = False\ncuda: Optional[str] = '12.8'\nhip = None\n", "12.8"),
        ("cuda = '13.0'\n", "13.0"),
        ("cuda: Optional[str] = None\n", "cpu"),
        ("git_version = '1'\n", "11.1"),
    ],
)
def test_the_cuda_of_torch_is_read_from_its_version_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cuda: str
) -> None:
    """None means a build without CUDA; without an entry the configured version counts."""
    (tmp_path / "version.py").write_text(text)
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: spec)
    assert torch_cuda("11.1") == cuda


@pytest.mark.parametrize("spec", [None, SimpleNamespace(origin=None)])
def test_where_torch_is_not_installed_the_configured_cuda_counts(monkeypatch: pytest.MonkeyPatch, spec: object) -> None:
    """As on a host that runs its stages in containers."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: spec)
    assert torch_cuda("11.1") == "11.1"


def test_the_configured_cuda_is_that_of_the_pinned_torch() -> None:
    """configs/preflight.yaml and constraints.txt change together."""
    lock = (REPOSITORY / "constraints.txt").read_text()
    toolkit = re.search(r"^cuda-toolkit==(\d+\.\d+)", lock, flags=re.MULTILINE)
    assert toolkit is not None
    assert f'torch_cuda: "{toolkit[1]}"' in (REPOSITORY / "configs" / "preflight.yaml").read_text()


def test_on_a_real_gpu_both_ways_agree() -> None:
    """Where there is one."""
    if (
        shutil.which("nvidia-smi") is None
        or subprocess.run(["nvidia-smi"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs a GPU")
    by_nvml, by_smi = ask_nvml(pytest.importorskip("pynvml")), ask_smi()
    assert by_nvml is not None
    assert [(gpu.uuid, gpu.driver) for gpu in by_nvml] == [(gpu.uuid, gpu.driver) for gpu in by_smi]
