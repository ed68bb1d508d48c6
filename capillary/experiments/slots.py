"""Shares of the machine for cells that run side by side: a GPU for each of their processes, or CPU cores divided."""

from pathlib import Path

from capillary.compute.computing import find_slots, resolve
from capillary.compute.environment import detect_environment, read_environment_signals
from capillary.compute.profiles import choose_profile, read_table
from capillary.experiments.cells import Slot
from capillary.launcher.run import stage_hardware
from capillary.places.choose import jobs_of
from capillary.settings import Settings
from stages.common.machine.gpus import Gpu

CELL_STAGE = "train"


def machine_facts(root: Path, settings: Settings) -> tuple[str, dict[str, str]]:
    """(profile, name and value of the rest): how this machine computes an experiment, for its report."""
    jobs = jobs_of(root, settings, CELL_STAGE)
    hardware = jobs.hardware if jobs else stage_hardware(settings)
    choice = choose_profile(hardware, settings.profile, read_table(root))
    place = detect_environment(read_environment_signals(settings.variables))
    gpus = ", ".join(gpu.name for gpu in choice.gpus) or "none"
    return choice.profile, {
        "place": f"{place.name} ({place.reason})",
        "profile": f"{choice.profile}: {choice.reason}",
        "GPUs used": gpus,
        **({"cells ran as": jobs.described} if jobs else {}),
    }


def plan_slots(root: Path, settings: Settings, cells: int) -> list[Slot]:
    """Slots for an experiment of `cells` trainings.

    Their number follows from all its cells, not from those that are still missing: a cell that is repeated after a
    crash gets as many threads as before, and with them the same weights.
    """
    if jobs := jobs_of(root, settings, CELL_STAGE):
        return [Slot(name=f"job {number}", environment={}) for number in range(1, min(jobs.most, cells) + 1)]
    hardware = stage_hardware(settings)
    choice = choose_profile(hardware, settings.profile, read_table(root))
    count = max(1, min(find_slots(choice, hardware, settings), cells))
    compute = resolve(choice, hardware, settings, slots=count)
    share = {
        "CAPILLARY_THREADS": str(compute.threads),
        "CAPILLARY_WORKERS": str(compute.workers),
        "CAPILLARY_SIDE_BY_SIDE": str(count),
    }
    if not choice.gpus:
        threads = f"{compute.threads} thread{'s' if compute.threads > 1 else ''}"
        return [Slot(name=f"slot {number} ({threads})", environment=share) for number in range(1, count + 1)]
    groups = _groups(choice.gpus, compute.processes)
    shared = {"CAPILLARY_SHARE_GPUS": "yes"} if count > len(groups) else {}
    return [_gpu_slot(groups[number % len(groups)], {**share, **shared}) for number in range(count)]


def _groups(gpus: tuple[Gpu, ...], size: int) -> list[tuple[Gpu, ...]]:
    """As many groups of `size` as `gpus` give; all of them where they give none."""
    return [gpus[first : first + size] for first in range(0, len(gpus) - size + 1, size)] or [gpus]


def _gpu_slot(gpus: tuple[Gpu, ...], share: dict[str, str]) -> Slot:
    names = ",".join(gpu.uuid for gpu in gpus)
    return Slot(
        name=f"GPU {', '.join(str(gpu.index) for gpu in gpus)}",
        # one for containers, one for processes
        environment={**share, "CAPILLARY_GPUS": names, "CUDA_VISIBLE_DEVICES": names},
    )
