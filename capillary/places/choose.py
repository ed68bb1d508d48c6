"""The place that CAPILLARY_PLACE names, for one stage."""

from pathlib import Path

from capillary.launcher.run import Executor
from capillary.places.slurm.config import read_config
from capillary.places.slurm.execute import SlurmPlace
from capillary.settings import PlaceName, Settings
from stages.common.errors import CapillaryError, ExitCode


def choose_place(root: Path, stage: str, settings: Settings) -> Executor | None:
    """Who runs the plans of `stage` of the workspace `root`; None for an executor on this machine."""
    if settings.place is PlaceName.SLURM:
        profile = read_config(root).profile_of(stage)
        return None if profile is None else SlurmPlace(settings, profile)
    if settings.place is PlaceName.RAY:
        raise CapillaryError(
            "this version has no place `ray`",
            value=f"CAPILLARY_PLACE={settings.place}",
            remedy="set CAPILLARY_PLACE to local or slurm",
            code=ExitCode.USAGE,
        )
    return None
