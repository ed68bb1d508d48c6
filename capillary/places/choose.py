"""The place that CAPILLARY_PLACE names, for one stage."""

from pathlib import Path

from capillary.launcher.run import Executor
from capillary.places.slurm.config import read_config
from capillary.places.slurm.execute import SlurmPlace
from capillary.settings import PlaceName, Settings


def choose_place(root: Path, stage: str, settings: Settings) -> Executor | None:
    """Who runs the plans of `stage` of the workspace `root`; None for an executor on this machine."""
    if settings.place is PlaceName.SLURM:
        profile = read_config(root).profile_of(stage)
        return None if profile is None else SlurmPlace(settings, profile)
    if settings.place is PlaceName.RAY:
        from capillary.places.ray.config import read_config as read_ray_config
        from capillary.places.ray.execute import RayPlace

        task = read_ray_config(root).profile_of(stage)
        return None if task is None else RayPlace(settings, task)
    return None
