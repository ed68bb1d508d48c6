"""The GPUs that a process here can have, asked from NVML or, where its library is missing, from nvidia-smi.

Also which CUDA their driver runs.
"""

import importlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

SMI_ARGUMENTS = (
    "--query-gpu=index,uuid,name,memory.total,memory.free,driver_version",
    "--format=csv,noheader,nounits",
)
# the oldest driver on Linux that runs programs of a CUDA generation (minor version compatibility):
# https://docs.nvidia.com/deploy/cuda-compatibility/
OLDEST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
DRIVER_FILE = Path("/proc/driver/nvidia/version")  # the machine's, also in a container
_MIB = 1 << 20
SMI_TIMEOUT_S = 20


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU. Sizes are None if it shares the machine's memory (GB10, Jetson); `driver` is the driver's version."""

    index: int
    uuid: str
    name: str
    memory_bytes: int | None
    free_bytes: int | None
    driver: str


class DriverBrokenError(Exception):
    """There is a driver, but it does not work. The text is the driver's."""


def find_devices(visible: str | None) -> tuple[Gpu, ...]:
    """The GPUs, or those of them that `visible` (CUDA_VISIBLE_DEVICES) names; none if there is no driver.

    Raises DriverBrokenError if there is one that does not answer.
    """
    found = ask_nvml(_nvml())
    if found is None:
        found = ask_smi()
    return visible_of(found, visible)


def visible_of(devices: Sequence[Gpu], visible: str | None) -> tuple[Gpu, ...]:
    """Those that CUDA would see: it reads the list up to the first name that it does not know."""
    if visible is None:
        return tuple(devices)
    chosen: list[Gpu] = []
    for name in (part.strip() for part in visible.split(",")):
        match = [device for device in devices if name and (name == str(device.index) or device.uuid.startswith(name))]
        if len(match) != 1:
            break
        chosen += match
    return tuple(chosen)


def ask_nvml(nvml: ModuleType | None) -> tuple[Gpu, ...] | None:
    """The GPUs that NVML lists; None when NVML is not there. `nvml` is the module pynvml."""
    if nvml is None:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        if error.value in (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED):
            return None
        raise DriverBrokenError(str(error)) from error
    try:
        return tuple(_nvml_devices(nvml))
    except nvml.NVMLError as error:
        raise DriverBrokenError(str(error)) from error
    finally:
        nvml.nvmlShutdown()


def _nvml() -> ModuleType | None:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None  # an older install of the host side


def _nvml_devices(nvml: ModuleType) -> Iterator[Gpu]:
    driver = nvml.nvmlSystemGetDriverVersion()
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory_bytes, free_bytes = _nvml_memory(nvml, handle)
        yield Gpu(
            index=index,
            uuid=nvml.nvmlDeviceGetUUID(handle),
            name=nvml.nvmlDeviceGetName(handle),
            memory_bytes=memory_bytes,
            free_bytes=free_bytes,
            driver=driver,
        )


def _nvml_memory(nvml: ModuleType, handle: object) -> tuple[int, int] | tuple[None, None]:
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        if error.value != nvml.NVML_ERROR_NOT_SUPPORTED:
            raise
        return None, None
    return int(memory.total), int(memory.free)


def loaded_driver(file: Path = DRIVER_FILE) -> str | None:
    """The version of the driver that the machine's kernel has loaded, in every container of it; None without one."""
    text = file.read_text() if file.is_file() else ""
    found = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d+(?:\.\d+)+)", text)
    return found[1] if found else None


def driver_runs(driver: str, cuda: str) -> bool:
    """Whether programs made with CUDA `cuda` run on `driver` (versions); False for a CUDA that OLDEST_DRIVER lacks."""
    oldest = OLDEST_DRIVER.get(int(cuda.split(".")[0]))
    return oldest is not None and numbers_of(driver) >= numbers_of(oldest)


def numbers_of(version: str) -> tuple[int, ...]:
    """`580.65.06` as numbers, which compare as versions do."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def ask_smi() -> tuple[Gpu, ...]:
    """The GPUs that nvidia-smi lists; none if there is no nvidia-smi."""
    argv = ["nvidia-smi", *SMI_ARGUMENTS]
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=SMI_TIMEOUT_S)
    except FileNotFoundError:
        return ()
    except subprocess.TimeoutExpired as error:
        raise DriverBrokenError(f"nvidia-smi does not end within {SMI_TIMEOUT_S} s") from error
    text = (done.stdout + done.stderr).strip()
    if "no devices were found" in text.lower():
        return ()
    if done.returncode:
        raise DriverBrokenError(text.splitlines()[0] if text else f"nvidia-smi ended with {done.returncode}")
    return parse_smi(done.stdout)


def parse_smi(text: str) -> tuple[Gpu, ...]:
    """The GPUs in what `nvidia-smi` answers to SMI_ARGUMENTS. Raises DriverBrokenError for anything else."""
    return tuple(_parse(line) for line in text.splitlines() if line.strip())


def _parse(line: str) -> Gpu:
    fields = [field.strip() for field in line.split(",")]
    try:
        index, uuid, name, total_mib, free_mib, driver = fields
        return Gpu(
            index=int(index),
            uuid=uuid,
            name=name,
            memory_bytes=_mebibytes(total_mib),
            free_bytes=_mebibytes(free_mib),
            driver=driver,
        )
    except ValueError as error:
        raise DriverBrokenError(f"nvidia-smi says {line.strip()!r}") from error


def _mebibytes(text: str) -> int | None:
    return None if text in ("[N/A]", "[Not Supported]") else int(text) * _MIB
