"""From a profile and the machine to numbers: how a stage computes, and how many cells run side by side."""

from collections.abc import Callable
from pathlib import Path

from capillary.compute.hardware import Hardware
from capillary.compute.profiles import COMPUTE_FILE, Choice, choose_profile, read_table
from capillary.settings import Settings
from stages.common.errors import UsageError
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits, find_limits
from stages.common.program.messages import get_logger
from stages.common.runtime import Compute

log = get_logger(__name__)

MOST_AUTO_WORKERS = 8  # a patch takes milliseconds: more loaders wait for the GPU
CORES_A_SLOT = 4  # small networks gain little from more threads, so large CPUs are better shared
GB_A_SLOT = 4.0  # what a cell of the default patch size takes, with room


def resolve(choice: Choice, hardware: Hardware, settings: Settings, slots: int = 1) -> Compute:
    """`choice` as numbers for one of `slots` cells that run side by side; what `settings` says explicitly wins."""
    profile = choice.settings
    on_gpu = bool(choice.gpus)
    nodes = hardware.limits.nodes
    processes = _processes(settings.processes or profile.processes, nodes)
    share = max(1, hardware.cores // (slots * (processes // nodes)))
    workers = share if profile.workers == "auto" else profile.workers
    threads = share if profile.threads == "auto" else profile.threads
    return Compute(
        profile=choice.profile,
        device=profile.device,
        micro_batch=settings.micro_batch or (None if profile.micro_batch == "auto" else profile.micro_batch),
        workers=settings.workers or (min(workers, MOST_AUTO_WORKERS) if on_gpu else workers),
        threads=settings.threads or threads,
        amp=profile.amp == "auto",
        cache=profile.cache,
        compile=profile.compile == "auto",
        processes=processes,
        nodes=nodes,
    )


def find_slots(choice: Choice, hardware: Hardware, settings: Settings) -> int:
    """How many cells the profile runs side by side."""
    slots = choice.settings.slots
    return _auto_slots(choice, hardware, settings.processes or choice.settings.processes) if slots == "auto" else slots


def stage_compute(
    root: Path,
    settings: Settings,
    find_gpus: Callable[[], tuple[Gpu, ...]] | None,
    limits_of_place: Callable[[], Limits] = find_limits,
) -> Compute:
    """How a stage computes. `find_gpus` is None for a stage that can use no GPU; `limits_of_place` are those of where
    it will run.

    No profile changes anything for such a stage, so it starts without a look at GPUs and configs/compute.yaml.
    """
    limits = limits_of_place()
    if find_gpus is None:
        workers, threads = settings.workers or limits.cores, settings.threads or limits.cores
        return Compute(device="cpu", workers=workers, threads=threads)
    hardware = Hardware(gpus=find_gpus(), limits=limits)
    choice = choose_profile(hardware, settings.profile, read_table(root))
    for warning in choice.warnings:
        log.warning(warning)
    return resolve(choice, hardware, settings)


def _processes(wanted: int, nodes: int) -> int:
    """How many processes share a training on `nodes` machines: at least one on each, as many on each."""
    processes = max(wanted, nodes)
    if processes % nodes:
        raise UsageError(
            f"{processes} processes cannot be shared equally by {nodes} nodes",
            remedy=f"set CAPILLARY_PROCESSES (or `processes` in {COMPUTE_FILE}) to a multiple of {nodes}, or change "
            "`nodes` of the profile of its jobs",
        )
    return processes


def _auto_slots(choice: Choice, hardware: Hardware, processes: int) -> int:
    """One process per GPU. On CPUs one per CORES_A_SLOT cores, two with 2 or more cores, as far as memory goes.

    A cell of several processes takes as many of these places.
    """
    if choice.gpus:
        return max(1, len(choice.gpus) // processes)
    by_cores = max(hardware.cores // CORES_A_SLOT, min(hardware.cores, 2))
    return max(1, min(by_cores, int(hardware.memory_gb / GB_A_SLOT)) // processes)
