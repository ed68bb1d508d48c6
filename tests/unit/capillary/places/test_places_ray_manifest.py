"""KubeRay's objects: right by its schema, and each number is the one of configs/ray.yaml."""

import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from capillary.places.ray.config import read_config
from capillary.places.ray.manifest import RAY_VERSION, Kind, render
from capillary.yaml_file import read_yaml
from stages.common.errors import CapillaryError
from tests.support.parts import REPOSITORY
from tests.unit.capillary.places.kuberay_schema import schema_of

CONFIG = read_config(REPOSITORY)


def rendered(kind: Kind, root: Path = REPOSITORY) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(render(root, kind, Path("configs/experiments/default.yaml")))
    return found


def groups_of(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """The head's group, and those of the workers."""
    spec = tree["spec"].get("rayClusterSpec", tree["spec"])
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


@pytest.mark.parametrize("file", ["configs/experiments/defualt.yaml", "../params.yaml", "/etc/hostname"])
def test_an_experiment_that_the_pod_lacks_is_named_before_it_is_submitted(file: str) -> None:
    """It would end in the cluster, after pods and images; a cluster that stays runs no experiment."""
    missing = Path(file)
    with pytest.raises(CapillaryError, match="the project has no such experiment file") as raised:
        render(REPOSITORY, Kind.JOB, missing)
    assert "configs/experiments/default.yaml" in raised.value.remedy
    assert "RayCluster" in render(REPOSITORY, Kind.CLUSTER, missing)


@pytest.mark.parametrize("kind", Kind)
def test_an_object_is_right_by_the_schema(kind: Kind) -> None:
    """Strictly, KubeRay's for its own fields and Kubernetes' for pods."""
    tree = rendered(kind)
    jsonschema.validate(tree, schema_of(tree["kind"]))
    for group in groups_of(tree):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, **group["template"]}
        kubernetes_validate.validate(pod, "1.37", strict=True)
    for group in groups_of(tree)[1:]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.ttlSecondsAfterFinish", 1),
        ("spec.backoffLimit", "0"),
        ("spec.rayClusterSpec.headGroupSpec.rayStartParams", {"num-cpus": 0}),
        ("spec.rayClusterSpec.workerGroupSpecs.0.maxReplica", 2),
        ("spec.rayClusterSpec.workerGroupSpecs.0.replicas", 2.5),
        ("spec.submissionMode", "k8sJobMode"),
    ],
)
def test_the_schema_refuses_a_slip(path: str, value: object) -> None:
    """A field that KubeRay does not have is dropped by the API server without a word."""
    tree = rendered(Kind.JOB)
    *way, last = path.split(".")
    place: Any = tree
    for step in way:
        place = place[int(step) if step.isdecimal() else step]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, schema_of("RayJob"))


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


def test_a_job_can_be_submitted_again() -> None:
    """`kubectl create` gives each a name of its own. It runs once: what failed needs a look."""
    tree = rendered(Kind.JOB)
    assert tree["metadata"] == {"generateName": f"{CONFIG.kubernetes.name}-", "namespace": "default"}
    spec = tree["spec"]
    assert (spec["backoffLimit"], spec["shutdownAfterJobFinishes"]) == (0, True)
    assert spec["ttlSecondsAfterFinished"] > 0


def test_a_job_runs_an_experiment_in_the_project(tmp_path: Path) -> None:
    """KubeRay pastes the entrypoint into a shell's command, whose `ray job submit` hands it to another shell."""
    tree = read_yaml(REPOSITORY / "configs" / "ray.yaml")
    tree["kubernetes"]["folder"] = str(tmp_path / "my project")
    for folder in ("configs/experiments", "my project", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "configs/experiments/default.yaml").touch()
    (tmp_path / "configs/ray.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "bin/capillary").write_text('#!/bin/sh\necho "$PWD: $CAPILLARY_PLACE $*"\n')
    (tmp_path / "bin/capillary").chmod(0o755)
    entrypoint = rendered(Kind.JOB, tmp_path)["spec"]["entrypoint"]
    submitted = _output_of(f"printf '%s\\n' {entrypoint} ;").splitlines()
    assert submitted[:2] == ["sh", "-c"]
    done = _output_of(subprocess.list2cmdline(submitted), PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert done == f"{tmp_path}/my project: ray experiment --config configs/experiments/default.yaml\n"


def _output_of(command: str, **variables: str) -> str:
    done = subprocess.run(["bash", "-c", command], env={**os.environ, **variables}, capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize("name", ["7seas", "a" * 42, "Lab", "a-"])
def test_a_name_that_kuberay_refuses_is_refused_first(tmp_path: Path, name: str) -> None:
    """It begins with a letter, and leaves room for the endings of jobs and of their clusters."""
    tree = read_yaml(REPOSITORY / "configs" / "ray.yaml")
    tree["kubernetes"]["name"] = name
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "ray.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(CapillaryError, match=r"kubernetes"):
        rendered(Kind.CLUSTER, tmp_path)


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


def test_a_pod_has_no_daemon_for_containers(tmp_path: Path) -> None:
    """Its own container is that of its stages."""
    tree = read_yaml(REPOSITORY / "configs" / "ray.yaml")
    tree["profiles"]["train"]["runtime"] = "docker"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "ray.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(CapillaryError, match="a pod has no daemon for `runtime: docker`"):
        rendered(Kind.CLUSTER, tmp_path)
