from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from capillary.executors.choose import choose_executor
from capillary.executors.process import execute as process
from capillary.launcher.run import read_request, refuse_changed_deps, stage_hardware
from capillary.planning.plan import StagePlan
from capillary.settings import Settings, read_settings
from stages.common.errors import CapillaryError, ExitCode, ServiceError
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import find_limits


@pytest.fixture
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DVC starts a cmd in the folder of its dvc.yaml."""
    (root / "dvc.yaml").touch()
    monkeypatch.chdir(root)
    return root


def test_the_address_is_the_one_that_dvc_runs(here: Path) -> None:
    """One entry with a matrix is many stages."""
    request = read_request("toy", ("--fold", "1"), {"DVC_STAGE": "toy@a-1", "DVC_ROOT": str(here)})
    assert (request.stage, request.address, request.argv) == ("toy", "toy@a-1", ("--fold", "1"))
    assert request.root == request.repository == here


def test_an_entry_may_have_the_name_of_its_stage_and_more(here: Path) -> None:
    """Two entries can run one stage; a stage of the longer name would be the entry's own."""
    (here / "configs").mkdir(exist_ok=True)
    (here / "configs" / "stages.yaml").write_text("toy: {}\n")
    assert read_request("toy", (), {"DVC_STAGE": "toy_seed@a-1-7"}).address == "toy_seed@a-1-7"
    with pytest.raises(CapillaryError, match="the cmd of toys@a runs the stage toy"):
        read_request("toy", (), {"DVC_STAGE": "toys@a"})
    (here / "configs" / "stages.yaml").write_text("toy: {}\ntoy_seed: {}\n")
    with pytest.raises(CapillaryError, match="the cmd of toy_seed@a-1-7 runs the stage toy"):
        read_request("toy", (), {"DVC_STAGE": "toy_seed@a-1-7"})


def test_by_hand_the_name_is_the_address(here: Path) -> None:
    """Without DVC's variables the stage of that name runs here."""
    request = read_request("toy", (), {})
    assert (request.address, request.root, request.repository) == ("toy", here, here)


def test_a_temporary_experiment_belongs_to_its_repository(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxes, state and the embedded store are the repository's; the workspace is removed after the run."""
    workspace = here / ".dvc" / "tmp" / "exps" / "tmpx"
    workspace.mkdir(parents=True)
    (workspace / "dvc.yaml").touch()
    monkeypatch.chdir(workspace)
    (here.parent / "link").symlink_to(here)
    for name in (here, here.parent / "link"):
        request = read_request("toy", (), {"DVC_STAGE": "toy", "DVC_ROOT": str(name)})
        assert (request.root, request.repository) == (workspace, here)


@pytest.mark.parametrize("inner", ["", "samples/iris"])
def test_a_temporary_experiment_of_a_subfolder_belongs_to_that_subfolder(
    here: Path, monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    """Models and state are where the project is: in a DVC repository below Git's root, or below DVC's own."""
    copy = here / ".dvc" / "tmp" / "exps" / "standalone" / "tmpx" / inner
    (copy / ".dvc").mkdir(parents=True)
    (copy / "sub").mkdir()
    for folder, home in ((copy, here), (copy / "sub", here / "sub")):
        (folder / "dvc.yaml").touch()
        monkeypatch.chdir(folder)
        request = read_request("toy", (), {"DVC_STAGE": "toy", "DVC_ROOT": str(here)})
        assert (request.root, request.repository) == (folder, home)


def test_a_project_in_a_subfolder_keeps_its_own_house(here: Path) -> None:
    """A DVC repository may hold several projects; run from the top DVC puts the file before the name."""
    request = read_request("toy", (), {"DVC_STAGE": f"{here.name}/dvc.yaml:toy@a", "DVC_ROOT": str(here.parent)})
    assert (request.address, request.root, request.repository) == ("toy@a", here, here)


def test_a_cmd_of_another_stage_is_refused(here: Path) -> None:
    """A copied entry whose cmd was forgotten."""
    with pytest.raises(CapillaryError, match="the cmd of train@a runs the stage toy") as caught:
        read_request("toy", (), {"DVC_STAGE": "train@a"})
    assert "capillary stage train" in caught.value.remedy


def test_a_folder_without_dvc_yaml_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand in the wrong folder, or an entry with a `wdir`."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CapillaryError, match=r"no dvc\.yaml") as caught:
        read_request("toy", (), {"DVC_STAGE": "toy"})
    assert caught.value.file == tmp_path
    assert "wdir" in caught.value.remedy


def test_deps_that_changed_are_named(make_plan: Callable[..., StagePlan]) -> None:
    """DVC hashes deps after a run: it would record the outs as made from what nobody used."""
    plan = make_plan("a", "b", "c", dep_hashes={"a": "1", "b": "2", "c": "3"})
    refuse_changed_deps(plan, {"a": "1", "b": "2", "c": "3"})
    with pytest.raises(CapillaryError, match="changed while it ran") as caught:
        refuse_changed_deps(plan, {"a": "x", "b": "2", "c": "missing"})
    assert caught.value.file == "a, c"
    assert caught.value.code == ExitCode.DATA


def test_containers_that_are_asked_for_are_never_replaced_by_something_weaker(tmp_path: Path) -> None:
    """Without a daemon `docker` is refused with what to do, `auto` takes processes."""
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    with pytest.raises(ServiceError, match="daemon does not answer") as caught:
        choose_executor(read_settings(tmp_path, {"CAPILLARY_EXECUTOR": "docker", **nowhere}))
    assert "start it" in caught.value.remedy
    for name in ("auto", "process"):
        assert choose_executor(read_settings(tmp_path, {"CAPILLARY_EXECUTOR": name, **nowhere})) is process


@pytest.mark.parametrize("name", ["auto", "docker"])
def test_where_a_daemon_answers_stages_run_in_containers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Unless processes are asked for: then no daemon is."""
    asked: list[Settings] = []
    monkeypatch.setattr(
        "capillary.executors.container.execute.ContainerExecutor", lambda settings: asked.append(settings) or 5
    )
    settings = read_settings(tmp_path, {"CAPILLARY_EXECUTOR": name})
    assert choose_executor(settings) == 5
    assert choose_executor(read_settings(tmp_path, {"CAPILLARY_EXECUTOR": "process"})) is process
    assert asked == [settings]


def test_processes_have_the_machine_s_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that the user allows."""
    settings = read_settings(tmp_path, {})
    card = Gpu(index=0, uuid="GPU-0", name="H100", memory_bytes=80, free_bytes=None, driver="580.65.06")
    hardware = {id(settings): SimpleNamespace(gpus=(card,))}
    monkeypatch.setattr(process, "find_hardware", lambda given: hardware[id(given)])
    assert process.gpus(settings) == (card,)


def test_stages_have_the_gpus_that_their_executor_gives_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A launcher in a container sees none, and what it sees elsewhere says nothing about containers."""
    card = Gpu(index=0, uuid="GPU-0", name="H100", memory_bytes=80, free_bytes=None, driver="580.65.06")
    executor = SimpleNamespace(gpus=lambda _settings: (card,), limits=find_limits)
    monkeypatch.setattr("capillary.launcher.run.choose_executor", lambda _settings: executor)
    hardware = stage_hardware(read_settings(tmp_path, {}))
    assert hardware.gpus == (card,)
    assert hardware.cores >= 1
