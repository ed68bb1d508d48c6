"""From a profile and the machine to numbers, and to the variables that tell a stage about them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from capillary.compute.hardware import Hardware
from capillary.compute.limits import find_limits
from capillary.compute.profiles import Choice, choose_profile, read_table
from capillary.settings import Settings
from stages.common.progress import say
from stages.preflight.checks.devices import Gpu

MOST_AUTO_WORKERS = 8  # a patch takes milliseconds: more loaders wait for the GPU
CORES_A_SLOT = 4  # small networks gain little from more threads, so large CPUs are better shared
GB_A_SLOT = 4.0  # what a cell of the default patch size takes, with room


@dataclass(frozen=True, kw_only=True)
class Computing:
    """How the stages of one run compute. `micro_batch` None means: the most that fit."""

    profile: str
    device: str
    micro_batch: int | None
    workers: int
    threads: int
    amp: str
    cache: str
    compile: str
    processes: int
    slots: int

    def variables(self) -> dict[str, str]:
        """What stages/common/runtime.py reads."""
        return {
            "CAPILLARY_PROFILE": self.profile,
            "CAPILLARY_DEVICE": self.device,
            "CAPILLARY_MICRO_BATCH": "auto" if self.micro_batch is None else str(self.micro_batch),
            "CAPILLARY_WORKERS": str(self.workers),
            "CAPILLARY_THREADS": str(self.threads),
            "CAPILLARY_AMP": self.amp,
            "CAPILLARY_CACHE": self.cache,
            "CAPILLARY_COMPILE": self.compile,
            "CAPILLARY_PROCESSES": str(self.processes),
        }


def resolve(choice: Choice, hardware: Hardware, settings: Settings, slots: int = 1) -> Computing:
    """`choice` as numbers for one of `slots` cells that run side by side; what `settings` says explicitly wins.

    The result's `slots` is how many cells the profile would run side by side, whatever the argument was.
    """
    profile = choice.settings
    on_gpu = bool(choice.gpus)
    processes = settings.processes or profile.processes
    share = max(1, hardware.cores // (slots * processes))
    workers = share if profile.workers == "auto" else profile.workers
    threads = share if profile.threads == "auto" else profile.threads
    return Computing(
        profile=choice.profile,
        device=profile.device,
        micro_batch=settings.micro_batch or (None if profile.micro_batch == "auto" else profile.micro_batch),
        workers=settings.workers or (min(workers, MOST_AUTO_WORKERS) if on_gpu else workers),
        threads=settings.threads or threads,
        amp=profile.amp,
        cache=profile.cache,
        compile=profile.compile,
        processes=processes,
        slots=_auto_slots(choice, hardware, processes) if profile.slots == "auto" else profile.slots,
    )


def stage_variables(root: Path, settings: Settings, find_gpus: Callable[[], tuple[Gpu, ...]] | None) -> dict[str, str]:
    """The variables that tell a stage how to compute. `find_gpus` is None for a stage that can use no GPU.

    No profile changes anything for such a stage, so it starts without a look at GPUs and configs/compute.yaml.
    """
    limits = find_limits()
    if find_gpus is None:
        return {
            "CAPILLARY_WORKERS": str(settings.workers or limits.cores),
            "CAPILLARY_THREADS": str(settings.threads or limits.cores),
        }
    hardware = Hardware(gpus=find_gpus(), limits=limits)
    choice = choose_profile(hardware, settings.profile, read_table(root))
    for warning in choice.warnings:
        say(f"warning: {warning}")
    return resolve(choice, hardware, settings).variables()


def _auto_slots(choice: Choice, hardware: Hardware, processes: int) -> int:
    """One process a GPU. On CPUs one for CORES_A_SLOT cores, two from 2 cores on, as far as memory goes.

    A cell of several processes takes as many of these places.
    """
    if choice.gpus:
        return max(1, len(choice.gpus) // processes)
    by_cores = max(hardware.cores // CORES_A_SLOT, min(hardware.cores, 2))
    return max(1, min(by_cores, int(hardware.memory_gb / GB_A_SLOT)) // processes)
