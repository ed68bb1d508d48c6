"""Which image and which GPUs a stage's container gets."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from capillary.executors.container import gpus as finding
from capillary.executors.container.execute import ContainerExecutor
from capillary.executors.container.gpus import container_name
from capillary.lifetimes.stop import Stop
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, ExitCode
from stages.common.machine.gpus import Gpu
from stages.common.runtime import GateOrder, StageOrder, read_order
from tests.unit.capillary.executors.container.fake_container import Container, Run, work
from tests.unit.capillary.executors.container.fake_daemon import refusal

GPUS = tuple(
    Gpu(index=index, uuid=f"GPU-{index}", name="card", memory_bytes=None, free_bytes=None, driver="580")
    for index in range(2)
)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the daemon has."""
    monkeypatch.setattr(finding, "find_gpus", lambda *_: GPUS)


def given(run: Run) -> list[str]:
    """The GPUs of the last container."""
    requests = run.daemon.bodies[-1]["HostConfig"].get("DeviceRequests", [])
    return [name for request in requests for name in request["DeviceIDs"]]


@pytest.mark.parametrize(
    ("gpu", "torch", "wanted", "found", "arguments"),
    [
        ("auto", True, "auto", True, "TORCH=cuda"),
        ("auto", True, "auto", False, "TORCH=cpu"),
        ("auto", True, "cuda", False, "TORCH=cuda"),
        ("auto", True, "cpu", True, "TORCH=cpu"),
        ("auto", False, "cuda", True, None),
        ("none", True, "cuda", True, None),
    ],
)
def test_the_image_has_the_torch_that_suits_its_gpus(
    run: Run,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    gpu: str,
    torch: bool,
    wanted: str,
    found: bool,
    arguments: str | None,
) -> None:
    """A stage that computes on no GPU, or without torch, has neither build."""
    monkeypatch.setattr(finding, "find_gpus", lambda *_: GPUS if found else ())
    (root / "stages/other").mkdir()
    for name in ("Dockerfile", "requirements.txt"):
        (root / "stages/other" / name).write_text("torch==2\n" if torch else "numpy==2\n")
    settings = read_settings(root, {"CAPILLARY_TORCH": wanted})
    access = run.plan.access.model_copy(update={"gpu": gpu, "image": "other"})
    environment = ContainerExecutor(settings).environment(root, "toy", access)
    assert environment.stage == "other"
    built = [f"{name}={value}" for name, value in environment.build_args.items() if name == "TORCH"]
    assert built == ([arguments] if arguments else [])


def test_an_older_driver_gets_the_torch_that_it_runs(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image's tag, its build and the order of a gate all say which."""
    told: list[StageOrder] = []

    def program(container: Container) -> int:
        told.append(read_order(container.folder("order.json")))
        return work(container)

    monkeypatch.setattr(finding, "find_gpus", lambda *_: tuple(replace(gpu, driver="575.57.08") for gpu in GPUS))
    (root / "stages/toy/requirements.txt").write_text("torch==2\n")
    run.allow(gpu="auto")
    run.change(gated="toy@b")
    indexes = {f"CAPILLARY_TORCH_INDEX_{name}": f"https://{name}" for name in ("CU126", "CU130")}
    assert run(program, **indexes) == 0
    assert run.identity[0].startswith("capillary-toy:cu126-")
    assert run.daemon.bodies[-1]["Image"] == run.identity[0]
    assert [order.gate for order in told] == [GateOrder(gated="toy@b", place="container", torch_cuda="12.6")]


def test_gpus_are_those_that_the_user_allows(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those of the daemon; they are looked for once a run, in a container of the base image."""
    bases: list[str] = []

    def find(_api: object, base: str) -> tuple[Gpu, ...]:
        bases.append(base)
        return GPUS

    monkeypatch.setattr(finding, "find_gpus", find)
    settings = read_settings(root, {"CAPILLARY_GPUS": "1", "CAPILLARY_BASE_IMAGE": "base"})
    executor = ContainerExecutor(settings)
    assert executor.gpus(settings) == GPUS[1:]
    executor.environment_id(root, "toy", run.plan.access.model_copy(update={"gpu": "auto"}))
    assert executor.gpus(settings) == GPUS[1:]
    assert bases == ["base", "base"]


@pytest.mark.usefixtures("two_gpus")
def test_a_stage_has_a_gpu_of_its_own(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Its container's name says which, so that the daemon refuses a second one."""
    run.allow(gpu="auto")
    assert run() == 0
    assert given(run) == ["GPU-0"]
    assert run.daemon.containers_made == [container_name(GPUS[0])]
    assert "toy@a runs on GPU 0 (card)" in capsys.readouterr().out


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_taken_is_left_to_who_has_it(run: Run) -> None:
    """The daemon says so by a name that is taken."""
    run.allow(gpu="required")
    create = run.daemon.answers["create_container_from_config"]

    def create_second(body: dict[str, Any], name: str) -> Any:
        if name == container_name(GPUS[0]):
            raise refusal(409, "name in use")
        return create(body, name)

    run.daemon.answers["create_container_from_config"] = create_second
    assert run() == 0
    assert given(run) == ["GPU-1"]
    assert run.daemon.containers_made == [container_name(GPUS[1])]


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("compute", "variables", "gpus"),
    [
        ({}, {"CAPILLARY_SHARE_GPUS": "yes"}, ["GPU-0", "GPU-1"]),
        ({"processes": 2}, {}, ["GPU-0", "GPU-1"]),
        ({"processes": 2}, {"CAPILLARY_GPUS": "1"}, ["GPU-1"]),
        ({"processes": 1}, {}, ["GPU-0"]),
        ({"device": "auto"}, {}, ["GPU-0"]),
        ({"device": "cpu"}, {}, []),
        ({"device": "cpu", "processes": 2}, {"CAPILLARY_SHARE_GPUS": "yes"}, []),
    ],
)
def test_gpus_are_shared_or_left_as_the_user_chose(
    run: Run, compute: dict[str, Any], variables: dict[str, str], gpus: list[str]
) -> None:
    """Several processes get all that the user allows; a profile for the CPU leaves them to others."""
    run.allow(gpu="auto")
    run.change(**compute)
    assert run(**variables) == 0
    assert given(run) == gpus
    shared = gpus != ["GPU-0"] or "CAPILLARY_SHARE_GPUS" in variables
    assert (run.daemon.containers_made != [container_name(GPUS[0])]) == shared


@pytest.mark.parametrize(
    ("gpu", "gated", "said"), [("auto", None, True), ("auto", "train@x", False), ("none", None, False)]
)
def test_a_stage_that_could_use_a_gpu_says_that_there_is_none(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gpu: str, gated: str, said: bool
) -> None:
    """A gate reports it by itself."""
    monkeypatch.setattr(finding, "find_gpus", lambda *_: ())
    run.allow(gpu=gpu)
    run.change(**({} if gated is None else {"gated": gated}))
    assert run() == 0
    assert given(run) == []
    assert ("it runs on the CPU" in capsys.readouterr().out) == said


def test_a_stage_that_requires_a_gpu_does_not_start_without_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made before."""
    monkeypatch.setattr(finding, "find_gpus", lambda *_: ())
    run.allow(gpu="required")
    with pytest.raises(CapillaryError, match="toy@a requires a GPU") as caught:
        run()
    assert caught.value.code == ExitCode.MACHINE
    assert run.daemon.bodies == []


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("gpu", ["none", "auto"])
def test_a_container_that_the_daemon_refuses_is_an_error(run: Run, gpu: str) -> None:
    """A taken name is one, too, where it stands for no GPU."""
    run.allow(gpu=gpu)
    run.daemon.answers["create_container_from_config"] = refusal(409 if gpu == "none" else 500, "no")
    with pytest.raises(CapillaryError, match="could not make the container of toy@a"):
        run()
    assert run.left == []


@pytest.mark.usefixtures("two_gpus")
def test_a_stage_that_waits_for_a_gpu_can_be_stopped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with the request's code, and nothing is left."""
    stop = Stop()
    run.allow(gpu="auto")
    run.daemon.answers["create_container_from_config"] = refusal(409, "name in use")
    monkeypatch.setattr(finding, "time", SimpleNamespace(sleep=lambda _s: stop.receive(2, None)))
    assert run(stop=stop) == 130
    assert "start" not in run.daemon.names
    assert run.left == []
