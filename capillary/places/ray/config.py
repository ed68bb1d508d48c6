"""configs/ray.yaml: what tasks ask of a Ray cluster, and which stages run as tasks."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from capillary.yaml_file import read_yaml
from stages.common.errors import ParamsError
from stages.common.params import Params, validate_params

RAY_FILE = "configs/ray.yaml"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?")  # of an object in Kubernetes; KubeRay adds its own endings
_IMAGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.:/@-]*")
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RayProfile(Params):
    """What one task asks for. The keys are explained at the top of configs/ray.yaml."""

    cpus: PositiveInt
    memory_gb: Amount
    gpus: NonNegativeInt
    gpu_memory_gb: Amount | None
    retries: NonNegativeInt


class KubernetesConfig(Params):
    """What `capillary place manifest` renders for KubeRay."""

    name: str
    namespace: str
    image: str
    claim: str
    folder: str
    workers: PositiveInt
    head_cpus: PositiveInt
    head_memory_gb: Amount

    @field_validator("name", "namespace", "claim")
    @classmethod
    def _object_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("must be a Kubernetes name: lower-case letters, digits and -")
        return name

    @field_validator("image")
    @classmethod
    def _image_name(cls, image: str) -> str:
        if not _IMAGE.fullmatch(image):
            raise ValueError("must be the name of an image, such as registry.example.org/capillary:1")
        return image

    @field_validator("folder")
    @classmethod
    def _absolute(cls, folder: str) -> str:
        if not folder.startswith("/") or ".." in folder.split("/"):
            raise ValueError("must be an absolute path: where the claim is mounted in each pod")
        return folder


class RayConfig(Params):
    """configs/ray.yaml."""

    max_jobs: PositiveInt
    stages: dict[str, str]
    profiles: dict[str, RayProfile]
    kubernetes: KubernetesConfig

    @model_validator(mode="after")
    def _stages_name_profiles(self) -> "RayConfig":
        if unknown := [name for name in self.stages.values() if name not in self.profiles]:
            raise ValueError(f"stages names the profile `{unknown[0]}`, which profiles does not have")
        return self

    def profile_of(self, stage: str) -> RayProfile | None:
        """The profile of the tasks of `stage`; None for a stage that runs on the head."""
        name = self.stages.get(stage)
        return None if name is None else self.profiles[name]


def read_config(root: Path) -> RayConfig:
    """configs/ray.yaml of the workspace `root`; ParamsError when it is missing or malformed."""
    if not (root / RAY_FILE).is_file():
        raise ParamsError(
            "CAPILLARY_PLACE=ray needs a file with the resources of its tasks",
            file=RAY_FILE,
            remedy="copy configs/ray.yaml from capillary's repository, or set CAPILLARY_PLACE=local",
        )
    return validate_params(RayConfig, read_yaml(root / RAY_FILE), RAY_FILE)
