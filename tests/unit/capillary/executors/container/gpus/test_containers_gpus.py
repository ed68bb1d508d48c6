from pathlib import Path
from types import SimpleNamespace

import pytest
from docker.errors import ImageNotFound, NotFound

from capillary.executors.container import gpus as finding
from capillary.executors.container.gpus import container_name, find_gpus, refuse_no_gpu, take_free
from capillary.lifetimes.stop import Stop
from stages.common.errors import CapillaryError, ExitCode, MachineError, ServiceError
from stages.common.machine.gpus import SMI_ARGUMENTS, Gpu
from tests.unit.capillary.executors.container.fake_daemon import Daemon, refusal

GPUS = tuple(
    Gpu(index=index, uuid=f"GPU-{index}", name="card", memory_bytes=16 << 30, free_bytes=None, driver="580.65.06")
    for index in range(2)
)


def test_a_gpu_goes_to_one_stage_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon takes a container's name once: who comes second gets the next GPU."""
    taken = {container_name(GPUS[0])}

    def create(gpu: Gpu) -> str | None:
        name = container_name(gpu)
        return None if name in taken else name

    assert take_free(GPUS, create, "train@dice_ce-1", Stop()) == container_name(GPUS[1])
    assert "train@dice_ce-1 runs on GPU 1 (card)" in capsys.readouterr().out
    assert len({container_name(gpu) for gpu in GPUS}) == 2


def test_a_stage_waits_for_the_first_gpu_that_is_free(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so once, and asks for each of them again and again."""
    asked: list[int] = []
    pauses: list[float] = []
    monkeypatch.setattr(finding, "time", SimpleNamespace(sleep=pauses.append))

    def create(gpu: Gpu) -> str | None:
        asked.append(gpu.index)
        return "container" if len(asked) == 5 else None

    assert take_free(GPUS, create, "toy", Stop()) == "container"
    assert asked == [0, 1, 0, 1, 0]
    assert pauses == [finding.POLL_S] * 2
    assert capsys.readouterr().out.count("toy waits for a free GPU") == 1


def test_a_stage_that_waits_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """No container is made afterwards, nor after a request that came before."""
    stop = Stop()
    monkeypatch.setattr(finding, "time", SimpleNamespace(sleep=lambda _s: stop.receive(15, None)))
    asked: list[Gpu] = []
    assert take_free(GPUS, asked.append, "toy", stop) is None
    assert take_free(GPUS, asked.append, "toy", stop) is None
    assert asked == list(GPUS)


@pytest.fixture
def machine(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A daemon with NVIDIA's toolkit and one GPU, on a machine that shows no driver itself."""
    monkeypatch.setattr(finding, "DRIVER_FILE", tmp_path / "version")
    daemon.answers |= {
        "info": {"Runtimes": {"runc": {}, "nvidia": {}}},
        "create_host_config": {"NetworkMode": "none"},
        "create_container": {"Id": "c0ffee"},
        "logs": b"1, GPU-9, NVIDIA H100, 81559, 81000, 580.65.06\n",
    }
    return daemon


def test_gpus_are_those_that_a_container_sees(machine: Daemon) -> None:
    """nvidia-smi says so in a container of the base image that has all of them and no network; it is removed."""
    (gpu,) = find_gpus(machine, "python:3.11")
    assert (gpu.index, gpu.uuid, gpu.name, gpu.driver) == (1, "GPU-9", "NVIDIA H100", "580.65.06")
    assert gpu.memory_bytes == 81559 << 20
    ((image,), more), *_ = machine.calls("create_container")
    assert (image, more["entrypoint"], more["command"]) == ("python:3.11", ["nvidia-smi"], list(SMI_ARGUMENTS))
    request = {"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu", "utility"]]}
    assert more["host_config"] == {"NetworkMode": "none", "DeviceRequests": [request]}
    assert machine.calls("create_host_config") == [((), {"network_mode": "none"})]
    assert machine.names[-4:] == ["start", "wait", "logs", "remove_container"]
    assert machine.calls("logs") == [(("c0ffee",), {"stdout": True, "stderr": False})]
    assert machine.calls("wait") == [(("c0ffee",), {"timeout": 60})]
    assert machine.calls("remove_container") == [(("c0ffee",), {"force": True})]
    assert "pull" not in machine.names


@pytest.mark.parametrize(
    ("info", "driver", "asks"),
    [
        ({}, False, False),
        ({"Runtimes": {"runc": {}}, "DiscoveredDevices": []}, False, False),
        ({"Runtimes": {"nvidia": {}}}, False, True),
        ({"DiscoveredDevices": [{"ID": "nvidia.com/gpu=0"}]}, False, True),
        ({}, True, True),
    ],
    ids=["nothing", "other runtimes", "runtime", "devices", "driver"],
)
def test_only_where_there_may_be_a_gpu_a_container_is_started(
    machine: Daemon, tmp_path: Path, info: dict[str, object], driver: bool, asks: bool
) -> None:
    """A start takes a second; most machines have none."""
    machine.answers["info"] = info
    if driver:
        (tmp_path / "version").touch()
    assert bool(find_gpus(machine, "python:3.11")) == asks
    assert ("create_container" in machine.names) == asks


def test_a_base_image_that_is_missing_is_pulled(machine: Daemon) -> None:
    """On a new machine; before the container is made."""
    machine.answers["inspect_image"] = refusal(404, kind=ImageNotFound)
    assert find_gpus(machine, "python:3.11")
    assert machine.calls("pull") == [(("python:3.11",), {})]
    assert machine.names.index("pull") < machine.names.index("create_container")


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("start", refusal(500, "could not select device driver")),
        ("logs", b"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"),
        ("logs", b""),
    ],
    ids=["no toolkit", "broken driver", "no nvidia-smi"],
)
def test_without_a_working_toolkit_there_is_no_gpu(machine: Daemon, call: str, answer: object) -> None:
    """The container is removed all the same."""
    machine.answers[call] = answer
    assert find_gpus(machine, "python:3.11") == ()
    assert machine.names[-1] == "remove_container"


def test_a_container_that_is_gone_already_is_no_error(machine: Daemon) -> None:
    """Somebody pruned meanwhile."""
    machine.answers["remove_container"] = refusal(404, kind=NotFound)
    assert len(find_gpus(machine, "python:3.11")) == 1


@pytest.mark.parametrize("call", ["info", "create_container"])
def test_a_daemon_that_refuses_is_told_of(machine: Daemon, call: str) -> None:
    """That is not a machine without a GPU."""
    machine.answers[call] = refusal(500, "internal")
    with pytest.raises(CapillaryError, match="Docker could not"):
        find_gpus(machine, "python:3.11")


def test_a_required_gpu_that_is_missing_is_the_machine_s_fault() -> None:
    """In words that a user can act on."""
    error = refuse_no_gpu("train@x")
    assert "train@x requires a GPU" in error.what
    assert (error.code, type(error)) == (ExitCode.MACHINE, MachineError)
    assert not isinstance(error, ServiceError)
