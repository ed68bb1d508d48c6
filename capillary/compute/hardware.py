"""GPUs, cores and memory: what stages may use of a machine."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capillary.settings import Settings
from stages.common.errors import UsageError
from stages.common.machine.gpus import DRIVER_FILE, DriverBrokenError, Gpu, find_devices, visible_of
from stages.common.machine.limits import Limits, find_limits

GB = 10**9  # a card sold with 24 GB has at least 24·10⁹ bytes, but often less than 24·2³⁰
# one of these exists where NVIDIA's driver is loaded: on Linux, and in WSL
DRIVER_FILES = (str(DRIVER_FILE), "/dev/nvidiactl", "/dev/dxg")


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
    gpus = visible_of(allowed(find_gpus(), settings.gpus), settings.variables.get("CUDA_VISIBLE_DEVICES"))
    return Hardware(gpus=gpus, limits=find_limits())


def find_gpus(driver_files: Sequence[str] = DRIVER_FILES) -> tuple[Gpu, ...]:
    """NVIDIA's GPUs, in the order of their numbers.

    A machine without the driver costs a look at three files. One whose driver does not answer has no GPU to compute
    on; preflight tells why.
    """
    if not any(Path(name).exists() for name in driver_files) and shutil.which("nvidia-smi") is None:
        return ()
    try:
        return find_devices(None)
    except DriverBrokenError:
        return ()


def allowed(gpus: Sequence[Gpu], wanted: str) -> tuple[Gpu, ...]:
    """Those of `gpus` that `wanted` names: indices or UUIDs with commas between; all of them when it is empty.

    Raises CapillaryError for one that does not exist.
    """
    if not wanted:
        return tuple(gpus)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    known = {name: gpu for gpu in gpus for name in (str(gpu.index), gpu.uuid)}
    if unknown := [name for name in names if name not in known]:
        listed = ", ".join(f"{gpu.index} ({gpu.name})" for gpu in gpus)
        raise UsageError(
            f"there is no GPU {unknown[0]}",
            value=f"CAPILLARY_GPUS={wanted}",
            remedy=f"name GPUs that stages can have: {listed}" if gpus else "unset it: stages can have no GPU here",
        )
    return tuple(dict.fromkeys(known[name] for name in names))
