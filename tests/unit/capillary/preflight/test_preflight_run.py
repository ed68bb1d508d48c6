"""Which checks a host gets: with a daemon or without, with a GPU or without, and what the project asks for."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from capillary.preflight import run
from capillary.preflight.docker import Daemon
from capillary.preflight.run import Host, as_json, read_preflight, run_preflight, show
from capillary.settings import Settings, read_settings
from stages.common.errors import ParamsError, ServiceError
from stages.common.machine import gpus
from stages.common.machine.gpus import DriverBrokenError, Gpu
from stages.common.preflight.check import Check, Report, Status, missed, passed
from stages.common.preflight.checks.service import Answer, Kind, Service
from stages.common.preflight.listed import Where
from tests.support.parts import REPOSITORY
from tests.unit.stages.common.preflight.test_listed import is_listed

GPU = Gpu(index=0, uuid="GPU-0", name="RTX", memory_bytes=10**10, free_bytes=10**10, driver="580.65.06")
PARAMS = read_preflight(REPOSITORY)
REPORT = Report((passed("git", "main at 1"), missed("data", "missing: x", "here", "dvc pull", critical=True)))


def daemon(*gpus: Gpu, root: str = "/nonexistent/docker") -> Daemon:
    return Daemon(api=None, info={"ServerVersion": "29.1", "DockerRootDir": root}, gpus=gpus)


def host(found: Daemon | None = None, *, require_gpu: bool = False, root: Path = REPOSITORY, **variables: str) -> Host:
    settings = read_settings(Path("/nowhere"), variables)
    return Host(root=root, settings=settings, params=PARAMS, require_gpu=require_gpu, daemon=found)


def names(checks: Iterable[Check]) -> list[str]:
    return [check.name for check in checks]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The machine's own GPUs, and what find_devices was asked for."""
    found = SimpleNamespace(gpus=(GPU,), visible=[])

    def find_devices(visible: str | None) -> tuple[Gpu, ...]:
        found.visible.append(visible)
        if isinstance(found.gpus, Exception):
            raise found.gpus
        return found.gpus

    monkeypatch.setattr(gpus, "find_devices", find_devices)
    monkeypatch.setattr("capillary.preflight.run.gpu.torch_cuda", lambda _default: "cpu")
    return found


def test_processes_have_the_gpus_that_cuda_may_see_and_the_torch_that_is_here(seen: SimpleNamespace) -> None:
    """A torch without CUDA makes a GPU useless for them."""
    (check,) = run._gpu_checks(host(CUDA_VISIBLE_DEVICES="0"))
    assert seen.visible == ["0"]
    assert "torch has no CUDA" in check.value


def test_images_of_apptainer_have_their_own_torch(seen: SimpleNamespace) -> None:
    """That of this process counts for plain processes alone; the GPUs are those of this process."""
    checks = list(run._gpu_checks(host(CAPILLARY_EXECUTOR="apptainer", CUDA_VISIBLE_DEVICES="0")))
    assert seen.visible == ["0"]
    assert f"torch has CUDA {PARAMS.gpu.torch_cuda}" in checks[-1].value


def test_containers_have_the_torch_of_their_image(seen: SimpleNamespace) -> None:
    """CUDA_VISIBLE_DEVICES of this shell hides nothing from them; that they get the GPU is its own check."""
    checks = list(run._gpu_checks(host(daemon(GPU), CUDA_VISIBLE_DEVICES="9")))
    assert seen.visible == [None]
    assert names(checks) == ["gpu", "gpu memory", "gpu driver", "docker gpu"]
    assert f"torch has CUDA {PARAMS.gpu.torch_cuda}" in checks[2].value
    assert checks[3].value == "RTX (0)"


def test_a_gpu_that_only_containers_see_is_enough(seen: SimpleNamespace) -> None:
    """As for a launcher that runs in a container without one."""
    seen.gpus = ()
    assert names(run._gpu_checks(host(daemon(GPU)))) == ["gpu driver", "docker gpu"]
    assert names(run._gpu_checks(host(daemon()))) == ["gpu", "docker gpu"]


@pytest.mark.parametrize("seen_here", [True, False])
@pytest.mark.parametrize(
    ("index", "status", "cuda"), [("", Status.FAIL, "13.0"), ("https://twelve", Status.PASS, "12.6")]
)
def test_an_older_driver_needs_an_index_for_its_torch(
    seen: SimpleNamespace, seen_here: bool, index: str, status: Status, cuda: str
) -> None:
    """Then the images hold a build that it runs; also where only containers see the GPU."""
    card = replace(GPU, driver="575.57.08")
    seen.gpus = (card,) if seen_here else ()
    checks = run._gpu_checks(host(daemon(card), CAPILLARY_TORCH_INDEX_CU126=index))
    driver = {check.name: check for check in checks}["gpu driver"]
    assert (driver.status, driver.value) == (status, f"575.57.08, torch has CUDA {cuda}")


@pytest.mark.parametrize(("require_gpu", "status"), [(True, Status.FAIL), (False, Status.WARN)])
def test_a_missing_gpu_fails_where_one_is_required(seen: SimpleNamespace, require_gpu: bool, status: Status) -> None:
    """None, a broken driver, or one that containers do not get."""
    seen.gpus = ()
    assert [check.status for check in run._gpu_checks(host(require_gpu=require_gpu))] == [status]
    seen.gpus = (GPU,)
    assert [check.status for check in run._gpu_checks(host(daemon(), require_gpu=require_gpu))][-1] is status
    seen.gpus = DriverBrokenError("no answer")
    (broken,) = run._gpu_checks(host(daemon(GPU), require_gpu=require_gpu))
    assert (broken.status, broken.value) == (status, "no answer")


def test_without_a_gpu_in_podman_nobody_is_sent_to_docker_s_toolkit(seen: SimpleNamespace) -> None:
    """A required GPU is missed there, and the remedy is another executor."""
    *_, check = run._gpu_checks(host(daemon(), require_gpu=True, CAPILLARY_EXECUTOR="podman"))
    assert (check.name, check.status) == ("docker gpu", Status.FAIL)
    assert "CAPILLARY_EXECUTOR" in check.remedy
    *_, of_docker = run._gpu_checks(host(daemon(), CAPILLARY_EXECUTOR="docker"))
    assert "nvidia-ctk" in of_docker.remedy


def test_shared_memory_is_asked_of_processes_alone() -> None:
    """A container gets the size that configs/stages.yaml says."""
    assert names(run._memory(host())) == ["ram", "shared memory", "swap"]
    assert names(run._memory(host(daemon()))) == ["ram", "swap"]


def test_every_place_that_fills_is_looked_at(tmp_path: Path) -> None:
    """Workspace, DVC's cache, runs, and Docker's data; each against its own threshold."""
    disk = replace_disk(min_free_cache_gb=10**9)
    checks = list(run._disks(replace(host(daemon(root=str(tmp_path)), root=tmp_path), params=disk), tmp_path / "cache"))
    assert names(checks) == [f"disk of {place}" for place in ("workspace", "cache", "runs", "docker")]
    assert [check.status is Status.FAIL for check in checks] == [False, True, False, False]
    assert len(list(run._disks(host(root=tmp_path), tmp_path))) == 3
    little = replace(host(root=tmp_path), params=replace_disk(min_free_runs_gb=10**9))
    assert [check.name for check in run._disks(little, tmp_path) if check.status is Status.FAIL] == ["disk of runs"]


def replace_disk(**sizes_gb: float) -> Any:
    """The thresholds of the disk: nothing but `sizes_gb`."""
    none = {name: 0.0 for name in type(PARAMS.disk).model_fields if name.startswith("min_")}
    return PARAMS.model_copy(update={"disk": PARAMS.disk.model_copy(update={**none, **sizes_gb})})


def test_ports_are_those_of_a_daemon_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one compose starts nothing; from within a container the ports are another machine's."""
    monkeypatch.setattr(run, "inspect_own", lambda _api: None)
    monkeypatch.setattr(run, "check_ports", lambda _root, _variables, _api, *, critical: [critical])
    assert list(run._ports(host())) == []
    assert list(run._ports(host(daemon()))) == [PARAMS.ports.critical]
    monkeypatch.setattr(run, "inspect_own", lambda _api: {"Id": "0"})
    assert list(run._ports(host(daemon()))) == []


def test_packages_are_looked_at_where_stages_are_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that each stage pins; images hold them already, also those of Apptainer, which has no daemon."""
    (tmp_path / "stages" / "toy").mkdir(parents=True)
    (tmp_path / "stages" / "toy" / "requirements.txt").write_text("no-such-package==1\n")
    check = run._packages(host(root=tmp_path))
    assert check.status is Status.FAIL
    assert "no-such-package" in check.value
    assert run._packages(host(daemon(), root=tmp_path)).value.startswith("skipped")
    assert run._packages(host(root=tmp_path, CAPILLARY_EXECUTOR="apptainer")).value.startswith("skipped")
    postgres = {"MLFLOW_TRACKING_URI": "postgresql://host/mlflow"}
    for more, there in (({}, True), ({"CAPILLARY_EXECUTOR": "apptainer"}, False)):
        monkeypatch.setattr(run, "installed", lambda _package: True)
        checks = run._servers(host(root=tmp_path, **postgres, **more), ())
        found = {check.name: check.status for check in checks}["package for postgresql://"]
        assert (found is Status.PASS) is there


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of two stages: `fetch` reads from a source, `learn` talks to the server."""
    for name in ("configs/preflight.yaml", "configs/compute.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((REPOSITORY / name).read_text())
    rest = "resume: false, memory_gb: null, pids: 1, shm_gb: 1"
    (tmp_path / "configs" / "stages.yaml").write_text(
        f"fetch: {{network: source, env: [], env_from: {{AWS_*: SOURCE_AWS_*}}, gpu: none, {rest}}}\n"
        f"learn: {{network: tracking, env: [MLFLOW_*], gpu: auto, {rest}}}\n"
        "look: {gate: true}\n"
    )
    (tmp_path / "dvc.yaml").write_text(
        "stages: {fetch: {cmd: x, params: [ingest.source]}, learn: {cmd: y}, look: {cmd: z}}\n"
    )
    (tmp_path / "params.yaml").write_text("ingest: {source: 's3://bucket/a'}\n")
    return tmp_path


def test_each_stage_is_asked_for_the_variables_that_it_is_given(project: Path) -> None:
    """Those of its source or of its server; a variable that it is not given is missing all the same."""
    login = Service(kind=Kind.MLFLOW, url="http://host:5000")
    answer = Answer(service=login, fault="", status=401, ahead_s=None)
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "MLFLOW_TRACKING_USERNAME": "c"}
    fetch, learn = list(run._environment(host(root=project, **keys), [answer]))[:2]
    assert (fetch.name, fetch.status) == ("environment of fetch", Status.PASS)
    assert "MLFLOW_TRACKING_PASSWORD" in learn.value
    assert "MLFLOW_TRACKING_USERNAME" not in learn.value
    assert "AWS" not in learn.value
    assert "AWS_ACCESS_KEY_ID" in next(iter(run._environment(host(root=project), []))).value


def test_the_servers_of_every_stage_are_asked(project: Path) -> None:
    """By the addresses that each is handed; one that no stage is handed, such as a DVC remote's, is nobody's here."""
    variables = {
        "SOURCE_AWS_ENDPOINT_URL": "http://source",
        "REMOTE_AWS_ENDPOINT_URL": "http://remote",
        "MLFLOW_TRACKING_URI": "http://host:5000",
        "MLFLOW_S3_ENDPOINT_URL": "http://store",
    }
    found = run._services(project, read_settings(project, variables), ["http://listed", "http://listed"])
    urls = {"http://source", "http://host:5000", "http://store", "http://listed"}
    assert ({service.url for service in found}, len(found)) == (urls, 4)
    assert found[0].kind is Kind.S3


def test_a_stage_may_require_a_gpu(project: Path) -> None:
    """In configs/stages.yaml; a gate requires nothing of its own."""
    assert not run._a_stage_requires_gpu(project)
    file = project / "configs" / "stages.yaml"
    file.write_text(file.read_text().replace("gpu: auto", "gpu: required"))
    assert run._a_stage_requires_gpu(project)


class Parts:
    """A preflight whose slow parts answer at once; it notes how they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.daemon: Daemon | ServiceError | None = None
        self.hosts: list[Host] = []
        monkeypatch.setattr(run, "check_data", lambda _root, *, critical: passed("data", "here", critical=critical))
        monkeypatch.setattr(run, "cache_folder", lambda root: root / "cache")
        monkeypatch.setattr(run, "find_daemon", lambda _settings: self.daemon)
        monkeypatch.setattr(run, "check_git", lambda _root, *, critical: passed("git", "main", critical=critical))
        for name in ("_memory", "_ports", "_environment"):
            monkeypatch.setattr(run, name, lambda *_: [])
        monkeypatch.setattr(run, "_packages", lambda _host: passed("packages", "all"))
        monkeypatch.setattr(run, "_gpu_checks", self._gpus)

    def _gpus(self, host: Host) -> list[Check]:
        self.hosts.append(host)
        return [passed("gpu", "one")]


def settings(**variables: str) -> Settings:
    return read_settings(Path("/nowhere"), variables)


def test_the_report_has_every_subject_in_its_order(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run needs first comes first."""
    Parts(monkeypatch)
    report = run_preflight(project, settings(CAPILLARY_EXECUTOR="process"))
    subjects = [check.name.split(" ")[0] for check in report.checks]
    assert list(dict.fromkeys(subjects)) == [
        "git",
        "params",
        "data",
        "docker",
        "gpu",
        "disk",
        "packages",
        "mlflow",
        "clock",
    ]
    assert "disk of cache" in names(report.checks)
    assert all(is_listed(name, Where.COMMAND) for name in names(report.checks))
    assert [check.critical for check in report.checks[:3]] == [True, True, True]


@pytest.mark.parametrize(
    ("flag", "variables", "in_stages", "required"),
    [
        (False, {}, False, False),
        (True, {}, False, True),
        (False, {"CAPILLARY_REQUIRE_GPU": "yes"}, False, True),
        (False, {}, True, True),
    ],
)
def test_a_gpu_is_required_by_the_flag_the_settings_or_a_stage(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: bool,
    variables: dict[str, str],
    in_stages: bool,
    required: bool,
) -> None:
    """Any of the three."""
    parts = Parts(monkeypatch)
    file = project / "configs" / "stages.yaml"
    if in_stages:
        file.write_text(file.read_text().replace("gpu: auto", "gpu: required"))
    run_preflight(project, settings(**variables), require_gpu=flag)
    assert parts.hosts[0].require_gpu is required


@pytest.mark.parametrize(("executor", "status"), [("docker", Status.FAIL), ("auto", Status.WARN)])
def test_a_daemon_that_does_not_answer_leaves_processes(
    project: Path, monkeypatch: pytest.MonkeyPatch, executor: str, status: Status
) -> None:
    """Unless containers were asked for, which fails; the other checks look at the machine itself."""
    parts = Parts(monkeypatch)
    parts.daemon = ServiceError("the Docker daemon does not answer", remedy="start it")
    report = run_preflight(project, settings(CAPILLARY_EXECUTOR=executor))
    assert next(check for check in report.checks if check.name == "docker").status is status
    assert parts.hosts[0].daemon is None
    parts.daemon = daemon(GPU)
    run_preflight(project, settings(CAPILLARY_EXECUTOR=executor))
    assert parts.hosts[1].daemon is parts.daemon


def test_a_misspelt_threshold_is_named(project: Path) -> None:
    """With the file and the nearest known key."""
    file = project / "configs" / "preflight.yaml"
    file.write_text(file.read_text().replace("min_available_gb", "min_availabel_gb"))
    with pytest.raises(ParamsError, match=r"configs/preflight\.yaml.*did you mean `min_available_gb`"):
        read_preflight(project)


def test_a_log_gets_a_line_for_each_check(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that pass included, then the count."""
    show(REPORT)
    assert capsys.readouterr().out.splitlines() == [
        "pass git: main at 1",
        "fail data: missing: x (here); remedy: dvc pull",
        "preflight: 1 passed, 0 warnings, 1 failed",
    ]


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One, and no lines below it."""
    monkeypatch.setattr(run, "console", Console(width=100, force_terminal=True, no_color=True))
    show(REPORT)
    assert "threshold" in capsys.readouterr().out.splitlines()[0]


def test_programs_get_the_report_as_json() -> None:
    """Whether it failed, and each check with all that it says."""
    found = json.loads(as_json(REPORT))
    assert found["failed"] is True
    assert [check["name"] for check in found["checks"]] == ["git", "data"]
    assert found["checks"][1]["remedy"] == "dvc pull"
