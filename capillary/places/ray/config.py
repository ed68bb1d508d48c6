"""configs/ray.yaml: what tasks ask of a Ray cluster, and which stages run as tasks."""

import re
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, field_validator

from capillary.places.config import PlaceConfig, read_place
from capillary.places.share import Amount, JobProfile
from stages.common.params import Params

RAY_FILE = "configs/ray.yaml"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?")  # of an object in Kubernetes
# KubeRay takes 47 characters for a job, of which 6 are what `generateName` adds, and a letter as the first
_CLUSTER = re.compile(r"[a-z]([a-z0-9-]{0,39}[a-z0-9])?")
_IMAGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.:/@-]*")


class RayProfile(JobProfile):
    """What one task asks for. The keys are explained at the top of configs/ray.yaml."""

    retries: NonNegativeInt
    runtime: Literal["process", "docker", "podman", "apptainer"] = "process"


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

    @field_validator("name")
    @classmethod
    def _cluster_name(cls, name: str) -> str:
        if not _CLUSTER.fullmatch(name):
            raise ValueError("must be at most 41 lower-case letters, digits and -, and begin with a letter")
        return name

    @field_validator("namespace", "claim")
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


class RayConfig(PlaceConfig[RayProfile]):
    """configs/ray.yaml."""

    kubernetes: KubernetesConfig


def read_config(root: Path) -> RayConfig:
    """configs/ray.yaml of the workspace `root`; ParamsError when it is missing or malformed."""
    return read_place(root, RAY_FILE, RayConfig)
