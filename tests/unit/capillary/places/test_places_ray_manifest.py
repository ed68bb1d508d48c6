"""KubeRay's objects: what its schema requires is there, and each number is the one of configs/ray.yaml."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from capillary.places.ray.config import read_config
from capillary.places.ray.manifest import RAY_VERSION, Kind, render
from capillary.yaml_file import read_yaml
from stages.common.errors import CapillaryError
from tests.support.parts import REPOSITORY

# required by ray.io/v1: dotted path of an object → its keys
REQUIRED = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "headGroupSpec": {"rayStartParams", "template"},
    "workerGroupSpecs": {"groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"},
}
CONFIG = read_config(REPOSITORY)


def rendered(kind: Kind, root: Path = REPOSITORY) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(render(root, kind, Path("configs/experiments/default.yaml")))
    return found


@pytest.mark.parametrize("kind", Kind)
def test_what_the_schema_requires_is_there(kind: Kind) -> None:
    """Of the object, its head and each group of workers; what is a string there is a string here."""
    tree = rendered(kind)
    assert (tree["apiVersion"], REQUIRED[""] - tree.keys()) == ("ray.io/v1", set())
    spec = tree["spec"] if kind is Kind.CLUSTER else tree["spec"]["rayClusterSpec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert REQUIRED["headGroupSpec"] <= groups[0].keys()
    for group in groups[1:]:
        assert REQUIRED["workerGroupSpecs"] <= group.keys()
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        assert re.fullmatch(r"\d+", limits["cpu"])
        assert re.fullmatch(r"\d+Mi", limits["memory"])


def test_every_pod_sees_the_project_at_one_path() -> None:
    """A job's folder is a path, which means the same for the head and the workers."""
    spec = rendered(Kind.CLUSTER)["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (volume,), (container,) = pod["volumes"], pod["containers"]
        assert volume["persistentVolumeClaim"]["claimName"] == CONFIG.kubernetes.claim
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": CONFIG.kubernetes.folder}]


def test_a_worker_holds_one_cell(tmp_path: Path) -> None:
    """Its CPUs, memory and GPUs are those of the profile."""
    tree = read_yaml(REPOSITORY / "configs" / "ray.yaml")
    tree["profiles"]["train"] |= {"cpus": 6, "memory_gb": 2, "gpus": 1}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "ray.yaml").write_text(yaml.safe_dump(tree))
    (group,) = rendered(Kind.CLUSTER, tmp_path)["spec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "6", "memory": "1907Mi", "nvidia.com/gpu": "1"}


def test_a_job_runs_an_experiment_in_the_project() -> None:
    """Once: what failed needs a look."""
    spec = rendered(Kind.JOB)["spec"]
    command = "CAPILLARY_PLACE=ray capillary experiment --config configs/experiments/default.yaml"
    assert spec["entrypoint"] == f"cd {CONFIG.kubernetes.folder} && {command}"
    assert (spec["backoffLimit"], spec["shutdownAfterJobFinishes"]) == (0, True)


def test_the_version_of_ray_is_the_one_that_is_pinned() -> None:
    """Ray refuses a driver of another version."""
    assert f"ray=={RAY_VERSION}\n" in (REPOSITORY / "constraints.txt").read_text()


def test_a_config_without_cells_has_nothing_for_workers(tmp_path: Path) -> None:
    """It says which line is missing."""
    tree = read_yaml(REPOSITORY / "configs" / "ray.yaml")
    tree["stages"] = {}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "ray.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(CapillaryError, match="workers would have nothing to do"):
        rendered(Kind.CLUSTER, tmp_path)
