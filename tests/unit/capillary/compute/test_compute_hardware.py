"""Which GPUs a machine has to offer, and which of them may be used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from capillary.compute.hardware import Hardware, allowed, find_gpus, find_hardware
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, ExitCode
from stages.common.machine.gpus import parse_smi
from stages.common.machine.limits import Limits, find_limits
from tests.support.machine import fake_smi

ANSWER = """\
0, GPU-5c89852c-d268-4e8b-8a4e-1d4e8b0a3c1f, NVIDIA A100-SXM4-80GB, 81559, 80000, 580.65.06
1, GPU-0f3b8a0c-9b0e-4d3b-8a4e-1d4e8b0a3c1f, NVIDIA GB10, [N/A], [N/A], 580.65.06
"""
GPUS = parse_smi(ANSWER)


@pytest.mark.parametrize(("wanted", "indices"), [("", [0, 1]), ("1", [1]), (" 1, 0", [1, 0]), ("1,1,", [1])])
def test_the_user_says_which_gpus_may_be_used(wanted: str, indices: list[int]) -> None:
    """CAPILLARY_GPUS; all of them when it is unset."""
    assert [gpu.index for gpu in allowed(GPUS, wanted)] == indices
    assert allowed(GPUS, GPUS[1].uuid) == GPUS[1:]


def test_a_gpu_that_is_not_there_is_refused_by_name() -> None:
    """With those that are."""
    with pytest.raises(CapillaryError, match="no GPU 7") as caught:
        allowed(GPUS, "0,7")
    assert "0 (NVIDIA A100-SXM4-80GB), 1 (NVIDIA GB10)" in caught.value.remedy
    assert caught.value.code == ExitCode.USAGE
    with pytest.raises(CapillaryError) as caught:
        allowed((), "0")
    assert caught.value.remedy == "unset it: stages can have no GPU here"


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH but for sh: where a fake nvidia-smi goes."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="NVML answers here")
def test_nvidia_smi_is_enough(smi: Path) -> None:
    """As in a sandbox that has the program and neither the driver's files nor its library."""
    fake_smi(smi, ANSWER.strip())
    assert find_gpus(driver_files=()) == GPUS


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="NVML answers here")
def test_a_driver_that_fails_is_no_gpu(smi: Path) -> None:
    """ "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver"."""
    fake_smi(smi, "NVIDIA-SMI has failed", code=9)
    assert find_gpus(driver_files=()) == ()


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="NVML answers here")
@pytest.mark.parametrize(
    ("variables", "indices"),
    [
        ({}, [0, 1]),
        ({"CAPILLARY_GPUS": "1"}, [1]),
        ({"CUDA_VISIBLE_DEVICES": "0"}, [0]),
        ({"CUDA_VISIBLE_DEVICES": "0", "CAPILLARY_GPUS": "1"}, []),
    ],
)
def test_a_process_here_has_what_both_variables_leave(smi: Path, variables: dict[str, str], indices: list[int]) -> None:
    """CAPILLARY_GPUS chooses among all GPUs, and CUDA hides those that its own variable does not name."""
    fake_smi(smi, ANSWER.strip())
    hardware = find_hardware(read_settings(smi, variables))
    assert [gpu.index for gpu in hardware.gpus] == indices
    assert hardware.limits == find_limits()


def test_hardware_is_counted_in_cores_and_gigabytes() -> None:
    """10⁹ bytes, as memory is sold."""
    limits = Limits(cores=3, cores_reason="", memory_bytes=2_500_000_000, memory_reason="")
    hardware = Hardware(gpus=(), limits=limits)
    assert (hardware.cores, hardware.memory_gb) == (3, 2.5)


def test_a_machine_without_a_driver_does_not_load_nvml() -> None:
    """Every stage start would pay for it."""
    program = (
        "import sys; from capillary.compute.hardware import find_gpus;"
        "assert find_gpus(driver_files=('/nowhere',)) == (); assert 'pynvml' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PATH": "/nowhere"})
