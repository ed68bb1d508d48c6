"""GPUs through nvidia-smi (a real program on PATH) and NVML, and which of them may be used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from capillary.compute.hardware import Gpu, allowed, find_gpus, parse_smi, visible
from stages.common.errors import CapillaryError, ExitCode

ANSWER = """\
0, GPU-5c89852c-d268-4e8b-8a4e-1d4e8b0a3c1f, 81559, NVIDIA A100-SXM4-80GB
1, GPU-0f3b8a0c-9b0e-4d3b-8a4e-1d4e8b0a3c1f, [N/A], NVIDIA GB10
"""
GPUS = parse_smi(ANSWER)


def test_gpus_are_read_as_nvidia_smi_lists_them() -> None:
    """Index, UUID, name, and memory in bytes, or none where it is the machine's."""
    gpus = parse_smi(ANSWER)
    assert gpus == (
        Gpu(
            index=0,
            uuid="GPU-5c89852c-d268-4e8b-8a4e-1d4e8b0a3c1f",
            name="NVIDIA A100-SXM4-80GB",
            memory_bytes=81559 << 20,
        ),
        Gpu(index=1, uuid="GPU-0f3b8a0c-9b0e-4d3b-8a4e-1d4e8b0a3c1f", name="NVIDIA GB10", memory_bytes=None),
    )
    assert parse_smi("No devices were found\n") == ()


@pytest.mark.parametrize(("wanted", "indices"), [("", [0, 1]), ("1", [1]), (" 1, 0", [1, 0]), ("1,1", [1])])
def test_the_user_says_which_gpus_may_be_used(wanted: str, indices: list[int]) -> None:
    """CAPILLARY_GPUS; all of them when it is unset."""
    assert [gpu.index for gpu in allowed(GPUS, wanted)] == indices
    assert allowed(GPUS, GPUS[1].uuid) == GPUS[1:]


def test_a_gpu_that_is_not_there_is_refused_by_name() -> None:
    """With those that are."""
    with pytest.raises(CapillaryError, match="no GPU 7") as caught:
        allowed(GPUS, "0,7")
    assert "1 (NVIDIA GB10)" in caught.value.remedy
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("devices", "indices"),
    [
        (None, [0, 1]),
        ("1", [1]),
        ("1,0", [1, 0]),
        ("-1", []),
        ("0,-1,1", [0]),
        ("GPU-0f3b", [1]),
        ("GPU-", []),
        ("", []),
    ],
)
def test_cuda_visible_devices_hides_gpus_as_cuda_does(devices: str | None, indices: list[int]) -> None:
    """In its order, by number or the beginning of a UUID, up to the first name that means none."""
    assert [gpu.index for gpu in visible(GPUS, devices)] == indices


def _put_smi(folder: Path, text: str, code: int = 0) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\nprint({text!r}, end='')\nraise SystemExit({code})\n")
    program.chmod(0o755)


def test_nvidia_smi_answers_where_nvml_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a sandbox that has the program and not the library."""
    _put_smi(tmp_path, ANSWER)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_gpus(driver_files=(), ask_nvml=lambda: None) == GPUS


def test_nvml_is_believed_before_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One question is enough; an empty answer is one."""
    _put_smi(tmp_path, ANSWER)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_gpus(driver_files=(), ask_nvml=lambda: GPUS[:1]) == GPUS[:1]
    assert find_gpus(driver_files=(), ask_nvml=lambda: ()) == ()


def test_a_driver_that_fails_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver"."""
    _put_smi(tmp_path, "NVIDIA-SMI has failed", code=9)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_gpus(driver_files=(), ask_nvml=lambda: None) == ()


def test_a_machine_without_a_driver_does_not_load_nvml() -> None:
    """Every stage start would pay for it."""
    program = (
        "import sys; from capillary.compute.hardware import find_gpus;"
        "assert find_gpus(driver_files=('/nowhere',)) == (); assert 'pynvml' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PATH": "/nowhere"})
