"""GPUs, cores and memory. GPUs are asked through NVML, or nvidia-smi where nvidia-ml-py cannot load NVML."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from capillary.compute.limits import Limits, find_limits
from capillary.settings import Settings
from stages.common.errors import CapillaryError, ExitCode

GB = 10**9  # a card sold with 24 GB has at least 24·10⁹ bytes, but often less than 24·2³⁰
SMI_QUERY = ("--query-gpu=index,uuid,memory.total,name", "--format=csv,noheader,nounits")
SMI_TIMEOUT_S = 20
# one of these exists where NVIDIA's driver is loaded: on Linux, and in WSL
DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU. `memory_bytes` is None where it shares the machine's memory (GB10 in a DGX Spark, Jetson)."""

    index: int
    uuid: str
    name: str
    memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What stages may use. Cores and memory are those of this process, within its cgroup's limits."""

    gpus: tuple[Gpu, ...]
    limits: Limits

    @property
    def cores(self) -> int:
        """Whole cores, at least 1."""
        return self.limits.cores

    @property
    def memory_gb(self) -> float:
        """Main memory in GB (10⁹ bytes)."""
        return self.limits.memory_bytes / GB


def find_hardware(settings: Settings) -> Hardware:
    """What a process started here may use: GPUs within CAPILLARY_GPUS and CUDA_VISIBLE_DEVICES."""
    gpus = visible(allowed(find_gpus(), settings.gpus), settings.variables.get("CUDA_VISIBLE_DEVICES"))
    return Hardware(gpus=gpus, limits=find_limits())


def find_gpus(
    driver_files: Sequence[str] = DRIVER_FILES, ask_nvml: Callable[[], tuple[Gpu, ...] | None] | None = None
) -> tuple[Gpu, ...]:
    """NVIDIA's GPUs, in the order of their numbers. A machine without the driver costs a look at three files."""
    if not any(Path(name).exists() for name in driver_files) and shutil.which("nvidia-smi") is None:
        return ()
    known = (ask_nvml or _ask_nvml)()
    return _ask_smi() if known is None else known


def parse_smi(text: str) -> tuple[Gpu, ...]:
    """The GPUs in what `nvidia-smi` answers to SMI_QUERY; memory comes in MiB, or as [N/A] where it is shared."""
    rows = [[part.strip() for part in line.split(",", 3)] for line in text.splitlines()]
    return tuple(
        Gpu(index=int(row[0]), uuid=row[1], name=row[3], memory_bytes=_mebibytes(row[2]))
        for row in rows
        if len(row) == 4 and row[0].isdecimal()
    )


def allowed(gpus: Sequence[Gpu], wanted: str) -> tuple[Gpu, ...]:
    """Those of `gpus` that `wanted` names: indices or UUIDs with commas between; all of them when it is empty.

    Raises CapillaryError for one that does not exist.
    """
    if not wanted:
        return tuple(gpus)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    known = {name: gpu for gpu in gpus for name in (str(gpu.index), gpu.uuid)}
    if unknown := [name for name in names if name not in known]:
        listed = ", ".join(f"{gpu.index} ({gpu.name})" for gpu in gpus) or "none"
        raise CapillaryError(
            f"there is no GPU {unknown[0]}",
            value=f"CAPILLARY_GPUS={wanted}",
            remedy=f"name GPUs that stages can have: {listed}",
            code=ExitCode.USAGE,
        )
    return tuple(dict.fromkeys(known[name] for name in names))


def visible(gpus: Sequence[Gpu], devices: str | None) -> tuple[Gpu, ...]:
    """Those of `gpus` that CUDA_VISIBLE_DEVICES=`devices` leaves: CUDA stops at the first name that it cannot find."""
    if devices is None:
        return tuple(gpus)
    shown: list[Gpu] = []
    for name in devices.split(","):
        wanted = name.strip()
        found = [gpu for gpu in gpus if wanted == str(gpu.index) or (wanted and gpu.uuid.startswith(wanted))]
        if len(found) != 1:
            break
        shown += found
    return tuple(shown)


def _mebibytes(text: str) -> int | None:
    return int(text) << 20 if text.isdecimal() else None


def _ask_nvml() -> tuple[Gpu, ...] | None:
    """The GPUs that NVML lists; None when it cannot be loaded."""
    import pynvml  # here: its import costs 20 ms, and most calls never come this far

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return tuple(_describe(index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _describe(index: int) -> Gpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    try:
        memory: int | None = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    except pynvml.NVMLError_NotSupported:
        memory = None
    return Gpu(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory_bytes=memory,
    )


def _ask_smi() -> tuple[Gpu, ...]:
    try:
        done = subprocess.run(
            ["nvidia-smi", *SMI_QUERY], capture_output=True, text=True, check=False, timeout=SMI_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()  # no such program, or a driver that hangs: there is no GPU to compute on
    return parse_smi(done.stdout) if done.returncode == 0 else ()
