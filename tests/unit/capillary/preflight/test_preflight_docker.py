from pathlib import Path

import pytest

from capillary.doctor import examine
from capillary.preflight import docker as docker_checks
from capillary.preflight.docker import Daemon, check_docker, check_docker_disk, check_docker_gpus, find_daemon
from capillary.preflight.run import read_preflight
from capillary.settings import ExecutorName, read_settings
from stages.common.errors import ServiceError
from stages.common.machine.gpus import Gpu
from stages.common.preflight.check import Status
from stages.common.preflight.params import DiskParams
from tests.support.parts import REPOSITORY

GPU = Gpu(index=0, uuid="GPU-0", name="RTX", memory_bytes=1, free_bytes=1, driver="580.1")


def daemon(*gpus: Gpu, root: str = "/nonexistent/docker") -> Daemon:
    return Daemon(api=None, info={"ServerVersion": "29.1", "DockerRootDir": root}, gpus=gpus)


@pytest.mark.parametrize(("executor", "status"), [("docker", Status.FAIL), ("auto", Status.WARN)])
def test_a_daemon_that_does_not_answer(tmp_path: Path, executor: str, status: Status) -> None:
    """It fails where containers were asked for; otherwise there are processes."""
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/no.sock", "CAPILLARY_EXECUTOR": executor}
    settings = read_settings(tmp_path, nowhere)
    found = find_daemon(settings)
    assert isinstance(found, ServiceError)
    check = check_docker(found, settings.executor, critical=True)
    assert check.status is status
    assert "start it" in check.remedy
    params = read_preflight(REPOSITORY)
    assert examine._docker(settings, params).status is status


def test_podman_that_does_not_start_is_never_replaced_by_processes() -> None:
    found = ServiceError("Podman's service does not start", remedy="read its message")
    assert check_docker(found, ExecutorName.PODMAN, critical=True).status is Status.FAIL


@pytest.mark.parametrize("executor", ["process", "apptainer"])
def test_a_daemon_that_nobody_wants_is_not_looked_for(tmp_path: Path, executor: str) -> None:
    """Plain processes and Apptainer need none, and the doctor does not miss it."""
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/no.sock", "CAPILLARY_EXECUTOR": executor}
    settings = read_settings(tmp_path, nowhere)
    assert find_daemon(settings) is None
    check = examine._docker(settings, read_preflight(REPOSITORY))
    assert (check.status, check.value) == (Status.PASS, f"not used: CAPILLARY_EXECUTOR={executor}")


def test_a_daemon_that_answers_passes() -> None:
    """With its version."""
    check = check_docker(daemon(), ExecutorName.DOCKER, critical=True)
    assert (check.status, check.value, check.critical) == (Status.PASS, "29.1 answers", True)


class Api:
    """A daemon that tells its version."""

    def info(self) -> dict[str, str]:
        return {"ServerVersion": "29.1"}


@pytest.mark.parametrize("executor", ["docker", "auto"])
def test_a_daemon_is_asked_about_itself_and_its_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    """The GPUs that containers of the stages' base image get."""
    asked: list[tuple[object, str]] = []
    api = Api()
    monkeypatch.setattr(docker_checks, "connect", lambda variables, _: api if variables["DOCKER_HOST"] == "x" else None)
    monkeypatch.setattr("capillary.preflight.docker.gpus.find_gpus", lambda *what: asked.append(what) or (GPU,))
    variables = {"CAPILLARY_EXECUTOR": executor, "DOCKER_HOST": "x", "CAPILLARY_BASE_IMAGE": "base:1"}
    found = find_daemon(read_settings(tmp_path, variables))
    assert found == Daemon(api=api, info={"ServerVersion": "29.1"}, gpus=(GPU,))  # type: ignore[arg-type]
    assert asked == [(api, "base:1")]


def test_a_gpu_that_containers_do_not_get() -> None:
    """The machine has one, the toolkit is missing: a training would quietly run on the CPU."""
    assert check_docker_gpus(daemon(), [GPU], required=False).status is Status.WARN
    check = check_docker_gpus(daemon(), [GPU], required=True)
    assert check.status is Status.FAIL
    assert "Container Toolkit" in check.remedy
    given = daemon(GPU)
    passing = check_docker_gpus(given, [GPU], required=True)
    assert (passing.status, passing.value, passing.critical) == (Status.PASS, "RTX (0)", True)
    assert check_docker_gpus(daemon(), [], required=False).status is Status.PASS


def test_the_disk_of_docker_is_looked_at_where_it_can_be_seen(tmp_path: Path) -> None:
    """Its data may be on another machine."""
    disk = DiskParams(
        critical=True,
        min_free_workspace_gb=0,
        min_free_cache_gb=0,
        min_free_runs_gb=0,
        min_free_docker_gb=10**9,
    )
    (check,) = check_docker_disk(daemon(root=str(tmp_path)), disk)
    assert check.status is Status.FAIL
    assert "docker system df" in check.remedy
    assert check_docker_disk(daemon(), disk) == []
