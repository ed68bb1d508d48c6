"""`capillary profile`: the machine, the profile and what it comes to, for people and for programs."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from capillary.compute import show
from capillary.compute.environment import Environment, EnvironmentName
from capillary.compute.hardware import GB, Hardware
from capillary.compute.profiles import choose_profile, read_table
from capillary.settings import Settings, read_settings
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits
from tests.support.parts import REPOSITORY

LIMITS = Limits(cores=6, cores_reason="the CPU quota", memory_bytes=int(15.5 * GB), memory_reason="the cgroup")


def gpu(index: int, size_gb: float | None) -> Gpu:
    memory_bytes = None if size_gb is None else int(size_gb * GB)
    return Gpu(index=index, uuid=f"GPU-{index}", name="RTX", memory_bytes=memory_bytes, free_bytes=None, driver="580")


def rows(
    *gpus: Gpu, place: EnvironmentName = EnvironmentName.LOCAL, in_container: bool = False
) -> dict[str, list[str]]:
    """The table's rows: name → value and reason."""
    hardware = Hardware(gpus=gpus, limits=LIMITS)
    choice = choose_profile(hardware, "auto", read_table(REPOSITORY))
    computing = show.computed(choice, hardware, read_settings(Path("/nowhere"), {}))
    environment = Environment(name=place, reason="a sign", in_container=in_container)
    console = Console(width=120, record=True, quiet=False)
    with console.capture() as captured:
        console.print(show.table(environment, hardware, choice, computing))
    lines = [line for line in captured.get().splitlines() if line.startswith("│")]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.split("│")[1:-1]] for line in lines)}


def test_the_table_tells_what_the_machine_has_and_why() -> None:
    """Cores and memory with their limits, GPUs with their memory, and which of them stay unused."""
    found = rows(gpu(0, 16), gpu(1, 2))
    assert found["environment"] == ["local", "a sign"]
    assert found["cores"] == ["6", "the CPU quota"]
    assert found["memory"] == ["15.5 GB", "the cgroup"]
    assert found["GPU 0"] == ["RTX, 16.0 GB", ""]
    assert found["GPU 1"] == ["RTX, 2.0 GB", "not used"]
    assert found["profile"] == ["gpu_high", "RTX with 16.0 GB"]


def test_the_table_tells_how_stages_compute() -> None:
    """Each number; `auto` where it is found out later."""
    found = rows()
    assert found["GPU"][0] == "none"
    assert found["micro_batch"] == ["auto", ""]
    assert found["threads"] == ["6", ""]
    assert found["slots"] == ["2", "cells side by side"]
    assert rows(gpu(0, None))["GPU 0"][0] == "RTX, shared"


@pytest.mark.parametrize(
    ("place", "in_container", "expected"),
    [
        (EnvironmentName.CI, True, "ci, in a container"),
        (EnvironmentName.CI, False, "ci"),
        (EnvironmentName.DOCKER, True, "docker"),
    ],
)
def test_a_container_is_named_where_the_place_does_not_say_so(
    place: EnvironmentName, in_container: bool, expected: str
) -> None:
    """A CI job may run in one; Docker always does."""
    assert rows(place=place, in_container=in_container)["environment"][0] == expected


def small_gpu(_settings: Settings) -> Hardware:
    """A machine whose GPU is too small for any profile."""
    return Hardware(gpus=(gpu(0, 4),), limits=LIMITS)


@pytest.fixture
def ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """CI, with its own settings."""
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("CAPILLARY_THREADS", "3")
    monkeypatch.setenv("CAPILLARY_PROFILE", "auto")


@pytest.mark.usefixtures("ci")
def test_programs_read_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """All of it as plain values, the warning included."""
    show.show_profile(REPOSITORY, small_gpu, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["environment"]["name"] == "ci"
    assert found["limits"]["cores"] == 6
    assert found["gpus"][0]["name"] == "RTX"
    assert found["profile"]["name"] == "cpu"
    computing = found["computing"]
    numbers = {"micro_batch", "workers", "threads", "processes", "nodes", "slots"}
    assert set(computing) == {"profile", "device", "amp", "cache", "compile", *numbers}
    assert (computing["threads"], computing["amp"], computing["micro_batch"]) == (3, "auto", None)
    assert found["profile"]["reason"] == "no GPU of 6 GB or more"
    assert "less than 6 GB" in found["profile"]["warnings"][0]


@pytest.mark.usefixtures("ci")
def test_people_read_a_table_and_the_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    """The warning comes last, in its own line."""
    show.show_profile(REPOSITORY, small_gpu, as_json=False)
    *table, warning = capsys.readouterr().out.splitlines()
    assert any("CAPILLARY_PROFILE" in line for line in table)
    assert warning == "warning: RTX with 4.0 GB has less than 6 GB and is not used"
