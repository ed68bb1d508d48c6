"""What the files of all places hold: profiles, and which stages run as jobs of which."""

from pathlib import Path
from typing import Generic, Self, TypeVar

from pydantic import PositiveInt, model_validator

from capillary.places.share import JobProfile
from capillary.yaml_file import read_yaml
from stages.common.errors import ParamsError
from stages.common.params import Params, validate_params

Profile = TypeVar("Profile", bound=JobProfile)
TRAIN = "train"


class PlaceConfig(Params, Generic[Profile]):
    """configs/<place>.yaml."""

    max_jobs: PositiveInt
    stages: dict[str, str]
    profiles: dict[str, Profile]

    @model_validator(mode="after")
    def _stages_name_profiles(self) -> Self:
        if unknown := [name for name in self.stages.values() if name not in self.profiles]:
            raise ValueError(f"stages names the profile `{unknown[0]}`, which profiles does not have")
        return self

    def profile_of(self, stage: str) -> Profile | None:
        """The profile of the jobs of `stage`; None for a stage that runs on the head.

        Trainings alone can share nodes: others that have the same profile ask for one.
        """
        name = self.stages.get(stage)
        if name is None:
            return None
        profile = self.profiles[name]
        return profile if stage == TRAIN else profile.model_copy(update={"nodes": 1})


Config = TypeVar("Config", bound=Params)


def read_place(root: Path, file: str, kind: type[Config]) -> Config:
    """The `file` of a place in the workspace `root`; ParamsError when it is missing or malformed."""
    if not (root / file).is_file():
        raise ParamsError(
            f"CAPILLARY_PLACE={Path(file).stem} needs a file with the resources of its jobs",
            file=file,
            remedy=f"copy {file} from capillary's repository, or set CAPILLARY_PLACE=local",
        )
    return validate_params(kind, read_yaml(root / file), file)
