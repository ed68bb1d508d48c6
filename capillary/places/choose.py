"""The place that CAPILLARY_PLACE names, for one stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from capillary.compute.hardware import Hardware
from capillary.launcher.executors import Executor
from capillary.launcher.plan import StagePlan
from capillary.places.ray.config import read_config as read_ray_config
from capillary.places.ray.execute import RayPlace
from capillary.places.slurm.config import read_config
from capillary.places.slurm.execute import SlurmPlace
from capillary.settings import PlaceName, Settings


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
        return None if profile is None else SlurmPlace(settings, profile)
    if settings.place is PlaceName.RAY:
        task = read_ray_config(root).profile_of(stage)
        return None if task is None else RayPlace(settings, task)
    return None


def jobs_of(root: Path, settings: Settings, stage: str) -> Jobs | None:
    """How the cells of `stage` run as jobs; None if they run on this machine."""
    if settings.place is PlaceName.RAY:
        return _ray_jobs(root, settings, stage)
    if settings.place is not PlaceName.SLURM:
        return None
    config = read_config(root)
    profile = config.profile_of(stage)
    if profile is None:
        return None
    place = SlurmPlace(settings, profile)
    hardware = Hardware(gpus=place.gpus(settings), limits=place.limits())
    where = f"partition {profile.partition}" if profile.partition else "the default partition"
    gpus = f", {profile.gpus} GPUs" if profile.gpus else ""
    described = f"Slurm jobs in {where}: {profile.cpus} cores, {profile.memory_gb:g} GB{gpus}, {profile.time}"
    return Jobs(most=config.max_jobs, hardware=hardware, described=described)


def _ray_jobs(root: Path, settings: Settings, stage: str) -> Jobs | None:
    config = read_ray_config(root)
    profile = config.profile_of(stage)
    if profile is None:
        return None
    place = RayPlace(settings, profile)
    hardware = Hardware(gpus=place.gpus(settings), limits=place.limits())
    gpus = f", {profile.gpus} GPUs" if profile.gpus else ""
    described = f"Ray tasks: {profile.cpus} cores, {profile.memory_gb:g} GB{gpus}"
    return Jobs(most=config.max_jobs, hardware=hardware, described=described)
