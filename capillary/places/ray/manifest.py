"""KubeRay's objects from configs/ray.yaml, as values: a RayCluster that stays, or a RayJob that brings its own.

Which fields KubeRay requires is in its Go types, ray-operator/apis/ray/v1 (ray.io/v1).
"""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from capillary.places.ray.config import RAY_FILE, KubernetesConfig, RayConfig, RayProfile, read_config
from capillary.settings import PlaceName
from stages.common.errors import ParamsError, UsageError

API = "ray.io/v1"
RAY_VERSION = "2.60.0"  # as in constraints.txt: head, workers and drivers must have the same
CELLS = "train"
_VOLUME = "project"
_MIB = 1 << 20
_KEPT_S = 300  # a job's pods after its end, to look at their logs
Tree = dict[str, Any]


class Kind(StrEnum):
    """Which of KubeRay's objects to render."""

    CLUSTER = "cluster"
    JOB = "job"


def render(root: Path, kind: Kind, experiment: Path) -> str:
    """The YAML of `kind`; a job runs the file `experiment`.

    Raises CapillaryError when no stage of cells is a task, or a job's experiment is not in the project `root`.
    """
    config = read_config(root)
    profile = config.profile_of(CELLS)
    if profile is None:
        raise ParamsError(
            f"{RAY_FILE} does not run `{CELLS}` as tasks, so workers would have nothing to do",
            remedy=f"add `{CELLS}: <profile>` to stages",
            file=root / RAY_FILE,
        )
    if profile.runtime in ("docker", "podman"):
        raise ParamsError(
            f"a pod has no daemon for `runtime: {profile.runtime}`; the pod is the container of its stages",
            remedy="set runtime: process in the profile, and install the stages' packages in the pods' image",
            file=root / RAY_FILE,
        )
    if kind is Kind.JOB:
        _refuse_unknown_file(root, experiment)
    tree = cluster(config, profile) if kind is Kind.CLUSTER else job(config, profile, experiment)
    text: str = yaml.safe_dump(tree, sort_keys=False)
    return text


def _refuse_unknown_file(root: Path, experiment: Path) -> None:
    """The pod has a copy of the project and nothing else of this machine."""
    if experiment.is_absolute() or ".." in experiment.parts or not (root / experiment).is_file():
        raise UsageError(
            "the project has no such experiment file",
            value=experiment,
            remedy="name one by its path in the project, such as configs/experiments/default.yaml",
        )


def cluster(config: RayConfig, profile: RayProfile) -> Tree:
    """A RayCluster."""
    kubernetes = config.kubernetes
    return _object("RayCluster", {"name": kubernetes.name}, kubernetes, _cluster_spec(kubernetes, profile))


def job(config: RayConfig, profile: RayProfile, experiment: Path) -> Tree:
    """A RayJob that runs an experiment on its own cluster, which is removed soon after its end.

    `kubectl create` gives it a name of its own, so that the same manifest can be submitted again.
    """
    kubernetes = config.kubernetes
    command = shlex.join(["capillary", "experiment", "--config", str(experiment)])
    whole = f"cd {shlex.quote(kubernetes.folder)} && CAPILLARY_PLACE={PlaceName.RAY} {command}"
    spec = {
        # one word for the shell of the submitter's pod, which has no project: `ray job submit … -- ENTRYPOINT ;`
        "entrypoint": shlex.join(["sh", "-c", whole]),
        "submissionMode": "K8sJobMode",
        "backoffLimit": 0,  # the same command again resumes; an experiment that failed needs a look first
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": _KEPT_S,
        "rayClusterSpec": _cluster_spec(kubernetes, profile),
    }
    return _object("RayJob", {"generateName": f"{kubernetes.name}-"}, kubernetes, spec)


def _object(kind: str, named: Tree, kubernetes: KubernetesConfig, spec: Tree) -> Tree:
    return {"apiVersion": API, "kind": kind, "metadata": {**named, "namespace": kubernetes.namespace}, "spec": spec}


def _cluster_spec(kubernetes: KubernetesConfig, profile: RayProfile) -> Tree:
    head = _pod(kubernetes, "ray-head", kubernetes.head_cpus, kubernetes.head_memory_gb, 0)
    worker = _pod(kubernetes, "ray-worker", profile.cpus, profile.memory_gb, profile.gpus)
    group = {
        "groupName": "cells",
        "replicas": kubernetes.workers,
        "minReplicas": 0,
        "maxReplicas": kubernetes.workers,
        "rayStartParams": {},
        "template": worker,
    }
    return {
        "rayVersion": RAY_VERSION,
        # dvc runs on the head: a cell there would take its cores
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": head},
        "workerGroupSpecs": [group],
    }


def _pod(kubernetes: KubernetesConfig, name: str, cpus: int, memory_gb: float, gpus: int) -> Tree:
    """A pod that mounts the project. Requests equal limits, so that no other pod takes its memory."""
    share: Tree = {"cpu": str(cpus), "memory": f"{max(1, int(memory_gb * 10**9 / _MIB))}Mi"}
    if gpus:
        share["nvidia.com/gpu"] = str(gpus)
    container = {
        "name": name,
        "image": kubernetes.image,
        "workingDir": kubernetes.folder,
        "resources": {"limits": share, "requests": dict(share)},
        "volumeMounts": [{"name": _VOLUME, "mountPath": kubernetes.folder}],
    }
    claim = {"name": _VOLUME, "persistentVolumeClaim": {"claimName": kubernetes.claim}}
    return {"spec": {"containers": [container], "volumes": [claim]}}
