"""GPU: one is there where one is required, it has free memory, and its driver is new enough for torch's CUDA."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from stages.common.machine.gpus import OLDEST_DRIVER, Gpu, driver_runs
from stages.common.preflight.check import GB, Check, at_least, missed, passed, warned
from stages.common.preflight.params import GpuParams
from stages.common.runtime import NOTHING_KNOWN, Need

_A_BUILD = {11: "CU118", 12: "CU126", 13: "CU130"}  # one of each generation, as wheels call it
_NO_GPU = (
    "check whether nvidia-smi lists it: the driver (https://www.nvidia.com/drivers) may be missing, not loaded since a "
    "kernel update (reboot), or CUDA_VISIBLE_DEVICES hides it; for containers install the NVIDIA Container Toolkit"
)


def check_gpu(
    devices: Sequence[Gpu],
    params: GpuParams,
    cuda: str,
    *,
    required: bool,
    need: Need = NOTHING_KNOWN,
    loaded: str | None = None,
) -> list[Check]:
    """Checks of the GPUs found. `cuda` is the version that torch was built with (`cpu` for a build without).

    `loaded` is the version of the machine's driver, which a container sees also where it is given no GPU.
    """
    if not devices:
        driver = [] if loaded is None or cuda == "cpu" else [check_driver(loaded, cuda, critical=required)]
        return [_none(required=required), *driver]
    names = ", ".join(f"{device.name} ({device.index})" for device in devices)
    if cuda == "cpu":
        return [_unused(names, required=required)]
    return [
        passed("gpu", names, "present", critical=required),
        check_memory(devices, params, need),
        check_driver(devices[0].driver, cuda, critical=params.critical),
    ]


def check_memory(devices: Sequence[Gpu], params: GpuParams, need: Need) -> Check:
    """The free memory of the best GPU. One that shares the machine's memory is left to the check of RAM."""
    sized = [
        (device.free_bytes, device.memory_bytes, device.index)
        for device in devices
        if device.free_bytes is not None and device.memory_bytes is not None
    ]
    if len(sized) < len(devices):
        return passed("gpu memory", "shares the machine's RAM", critical=params.critical)
    free_bytes, total_bytes, index = max(sized)
    least_gb, why = need.least(params.min_free_gb, "gpu_gb")
    return at_least(
        "gpu memory",
        free_bytes / GB,
        least_gb,
        f"free of {total_bytes / GB:.1f} on GPU {index}",
        "end the programs that nvidia-smi lists, or choose another GPU with CAPILLARY_GPUS (containers) or "
        "CUDA_VISIBLE_DEVICES (processes), or make training.patch_voxels or training.filters smaller",
        critical=params.critical,
        why=why,
    )


def broken(text: str, *, required: bool) -> Check:
    """A driver that does not answer: torch would find no GPU. `text` is the driver's message."""
    remedy = "reboot after an update of the driver or kernel (nvidia-smi must work first); see dmesg"
    threshold = "the driver answers"
    return missed("gpu", text, threshold, remedy, critical=required)


def check_driver(driver: str, cuda: str, *, critical: bool) -> Check:
    """The driver's version against the oldest that programs of CUDA `cuda` (`13.0`) run with."""
    generation = int(cuda.split(".")[0])
    oldest = OLDEST_DRIVER.get(generation)
    value = f"{driver}, torch has CUDA {cuda}"
    if oldest is None:
        return warned("gpu driver", value, f"unknown for CUDA {generation}", "see NVIDIA's table of CUDA compatibility")
    if driver_runs(driver, cuda):
        return passed("gpu driver", value, f"at least {oldest}", critical=critical)
    remedy = f"update the driver to {oldest} or newer{_older_torch(driver)}"
    return missed("gpu driver", value, f"at least {oldest}", remedy, critical=critical)


def _older_torch(driver: str) -> str:
    """Another remedy: a torch for the newest CUDA that `driver` runs."""
    generation = max((each for each in OLDEST_DRIVER if driver_runs(driver, f"{each}.0")), default=None)
    if generation is None:
        return ""
    return (
        f", or take a build of torch for CUDA {generation}: for containers set CAPILLARY_TORCH_INDEX_"
        f"{_A_BUILD[generation]} in .env (docs/images.md), else install it into this environment"
    )


def torch_cuda(default: str) -> str:
    """The CUDA version of the torch that is installed here (`cpu` without CUDA), read without the seconds that
    importing it takes; `default` where it is not installed.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return default
    text = (Path(spec.origin).parent / "version.py").read_text()
    found = re.search(r"^cuda\b[^=]*=\s*(?:None|'([\d.]+)')", text, flags=re.MULTILINE)
    if found is None:
        return default
    return found[1] or "cpu"


def _none(*, required: bool) -> Check:
    if required:
        return missed("gpu", "none found", "one is required", _NO_GPU, critical=True)
    remedy = "nothing, if there is none; else see `GPU not detected` in docs/preflight.md"
    return warned("gpu", "none found: training runs on the CPU", "none is required", remedy)


def _unused(names: str, *, required: bool) -> Check:
    remedy = (
        "install a torch with CUDA (PyTorch's index of CUDA builds), for containers set CAPILLARY_TORCH=auto; or leave "
        "it: training runs on the CPU"
    )
    return missed("gpu", f"{names}, but torch has no CUDA", "torch can use it", remedy, critical=required)
