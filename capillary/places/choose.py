"""The place that CAPILLARY_PLACE names, for one stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from capillary.compute.hardware import Hardware
from capillary.executors.choose import Executor
from capillary.places.ray.config import read_config as read_ray_config
from capillary.places.ray.execute import RayPlace
from capillary.places.share import JobProfile
from capillary.places.slurm.config import SlurmProfile, read_config
from capillary.places.slurm.execute import SlurmPlace
from capillary.planning.plan import StagePlan
from capillary.settings import PlaceName, Settings
from stages.common.text import counted


class Place(Executor, Protocol):
    """An executor whose stages run on other machines, in a job that a head here waits for."""

    def take_gates(self, gates: Sequence[StagePlan], /) -> None:
        """Plans of gates, which the job of the next plan runs first, on the same node."""


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """How cells run as jobs: `most` at once, each with `hardware`; `described` for a report."""

    most: int
    hardware: Hardware
    described: str


def choose_place(root: Path, stage: str, settings: Settings) -> Place | None:
    """Who runs the plans of `stage` of the workspace `root`; None for an executor on this machine."""
    if settings.place is PlaceName.SLURM:
        profile = read_config(root).profile_of(stage)
        return None if profile is None else _slurm_place(settings, profile)
    if settings.place is PlaceName.RAY:
        task = read_ray_config(root).profile_of(stage)
        return None if task is None else RayPlace(settings, task)
    return None


def _slurm_place(settings: Settings, profile: SlurmProfile) -> SlurmPlace:
    if not profile.is_apart:
        return SlurmPlace(settings, profile)
    from capillary.places.apart.place import ApartPlace  # DVC, for nodes without a shared disk only

    return ApartPlace(settings, profile)


def jobs_of(root: Path, settings: Settings, stage: str) -> Jobs | None:
    """How the cells of `stage` run as jobs; None if they run on this machine."""
    if settings.place is PlaceName.RAY:
        tasks = read_ray_config(root)
        task = tasks.profile_of(stage)
        return None if task is None else _jobs(tasks.max_jobs, task, RayPlace(settings, task), settings, "Ray tasks")
    if settings.place is not PlaceName.SLURM:
        return None
    config = read_config(root)
    profile = config.profile_of(stage)
    if profile is None:
        return None
    where = f"partition {profile.partition}" if profile.partition else "the default partition"
    jobs = _jobs(config.max_jobs, profile, SlurmPlace(settings, profile), settings, f"Slurm jobs in {where}")
    return replace(jobs, described=f"{jobs.described}, {profile.time}")


def _jobs(most: int, profile: JobProfile, place: Place, settings: Settings, what: str) -> Jobs:
    hardware = Hardware(gpus=place.gpus(settings), limits=place.limits())
    gpus = f", {counted(profile.gpus, 'GPU')}" if profile.gpus else ""
    nodes = f"{profile.nodes} nodes, each with " if profile.nodes > 1 else ""
    described = f"{what}: {nodes}{counted(profile.cpus, 'core')}, {profile.memory_gb:g} GB{gpus}"
    return Jobs(most=most, hardware=hardware, described=described)
