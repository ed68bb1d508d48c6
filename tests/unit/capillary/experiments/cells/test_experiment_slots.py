from pathlib import Path

import pytest

from capillary.compute.hardware import GB, Hardware
from capillary.compute.profiles import COMPUTE_FILE
from capillary.experiments import slots
from capillary.experiments.slots import machine_facts, plan_slots
from capillary.settings import read_settings
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits
from tests.support.parts import REPOSITORY

WHY = {"cores_reason": "test", "memory_reason": "test"}


def machine(cores: int, gpus: int = 0, memory_gb: float = 64) -> Hardware:
    cards = tuple(
        Gpu(index=number, uuid=f"GPU-{number}", name="H100", memory_bytes=80 * GB, free_bytes=None, driver="580.65.06")
        for number in range(gpus)
    )
    return Hardware(gpus=cards, limits=Limits(cores=cores, memory_bytes=int(memory_gb * GB), **WHY))


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    def plan(hardware: Hardware, cells: int, root: Path = REPOSITORY, **variables: str):  # type: ignore[no-untyped-def]
        monkeypatch.setattr(slots, "stage_hardware", lambda _settings: hardware)
        return plan_slots(root, read_settings(Path("/nowhere"), variables), cells)

    return plan


@pytest.mark.parametrize(
    ("cores", "cells", "count", "threads"), [(2, 3, 2, 1), (2, 1, 1, 2), (1, 3, 1, 1), (16, 12, 4, 4), (16, 2, 2, 8)]
)
def test_cpu_slots_divide_the_cores(on, cores: int, cells: int, count: int, threads: int) -> None:  # type: ignore[no-untyped-def]
    """No slot without a cell, and no core with two slots."""
    planned = on(machine(cores), cells)
    assert len(planned) == count
    assert {slot.environment["CAPILLARY_THREADS"] for slot in planned} == {str(threads)}
    assert {slot.environment["CAPILLARY_SIDE_BY_SIDE"] for slot in planned} == {str(count)}
    assert all("CUDA_VISIBLE_DEVICES" not in slot.environment for slot in planned)
    words = f"{threads} thread{'' if threads == 1 else 's'}"
    assert [slot.name for slot in planned] == [f"slot {number} ({words})" for number in range(1, count + 1)]


def test_little_memory_means_fewer_slots(on) -> None:  # type: ignore[no-untyped-def]
    """Two trainings that do not fit next to each other would both be lost."""
    assert len(on(machine(2, memory_gb=5), 6)) == 1


def test_each_slot_has_a_gpu_of_its_own(on) -> None:  # type: ignore[no-untyped-def]
    """Named for containers and for processes."""
    planned = on(machine(32, gpus=4), 12)
    assert [slot.environment["CAPILLARY_GPUS"] for slot in planned] == [f"GPU-{number}" for number in range(4)]
    assert all(slot.environment["CUDA_VISIBLE_DEVICES"] == slot.environment["CAPILLARY_GPUS"] for slot in planned)
    assert all("CAPILLARY_SHARE_GPUS" not in slot.environment for slot in planned)


def test_a_cell_of_two_processes_gets_two_gpus_and_its_threads_are_each_processs(on) -> None:  # type: ignore[no-untyped-def]
    """Five GPUs are two pairs; 32 cores are 8 for each of four processes."""
    planned = on(machine(32, gpus=5), 12, CAPILLARY_PROCESSES="2")
    assert [slot.environment["CAPILLARY_GPUS"] for slot in planned] == ["GPU-0,GPU-1", "GPU-2,GPU-3"]
    assert {slot.environment["CAPILLARY_THREADS"] for slot in planned} == {"8"}
    assert [slot.name for slot in planned] == ["GPU 0, 1", "GPU 2, 3"]


@pytest.mark.parametrize(("cores", "count", "threads"), [(2, 1, 1), (16, 2, 4)])
def test_cells_of_two_processes_divide_the_cores(on, cores: int, count: int, threads: int) -> None:  # type: ignore[no-untyped-def]
    """No core has two processes."""
    planned = on(machine(cores), 12, CAPILLARY_PROCESSES="2")
    assert len(planned) == count
    assert {slot.environment["CAPILLARY_THREADS"] for slot in planned} == {str(threads)}


def test_what_the_user_set_wins(on) -> None:  # type: ignore[no-untyped-def]
    """Threads from the environment are not divided."""
    assert {slot.environment["CAPILLARY_THREADS"] for slot in on(machine(8), 3, CAPILLARY_THREADS="3")} == {"3"}


def test_an_experiment_without_cells_has_a_slot(on) -> None:  # type: ignore[no-untyped-def]
    """Nothing divides by none."""
    assert len(on(machine(8), 0)) == 1


def test_loaders_are_divided_like_threads(on) -> None:  # type: ignore[no-untyped-def]
    """32 cores for four GPUs."""
    assert {slot.environment["CAPILLARY_WORKERS"] for slot in on(machine(32, gpus=4), 12)} == {"8"}
    assert {slot.environment["CAPILLARY_WORKERS"] for slot in on(machine(8, gpus=4), 12)} == {"2"}


def test_a_cell_of_more_processes_than_gpus_has_all_of_them(on) -> None:  # type: ignore[no-untyped-def]
    """One slot, so that no two cells share them."""
    planned = on(machine(32, gpus=2), 12, CAPILLARY_PROCESSES="3")
    assert [slot.environment["CAPILLARY_GPUS"] for slot in planned] == ["GPU-0,GPU-1"]
    assert "CAPILLARY_SHARE_GPUS" not in planned[0].environment


def test_more_slots_than_gpus_share_them(on, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A profile that asks for three slots on two GPUs: in turn, and the cells are told that they share."""
    (tmp_path / "configs").mkdir()
    table = (REPOSITORY / COMPUTE_FILE).read_text()
    head, multi, rest = table.partition("  cloud_multi:\n    device")
    (tmp_path / COMPUTE_FILE).write_text(head + multi + rest.replace("slots: auto", "slots: 3"))
    planned = on(machine(32, gpus=2), 12, tmp_path)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in planned] == ["GPU-0", "GPU-1", "GPU-0"]
    assert {slot.environment["CAPILLARY_SHARE_GPUS"] for slot in planned} == {"yes"}


def test_the_report_hears_how_the_machine_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Profile with its reason, the place, and the GPUs by name."""
    monkeypatch.setattr(slots, "stage_hardware", lambda _settings: machine(32, gpus=2))
    settings = read_settings(Path("/nowhere"), {"CI": "true"})
    profile, facts = machine_facts(REPOSITORY, settings)
    assert profile == "cloud_multi"
    assert facts == {
        "place": "ci (CI=true)",
        "profile": "cloud_multi: 2 GPUs: H100 with 80.0 GB, H100 with 80.0 GB",
        "GPUs used": "H100, H100",
    }


def test_a_machine_without_gpus_uses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in a word."""
    monkeypatch.setattr(slots, "stage_hardware", lambda _settings: machine(8))
    _, facts = machine_facts(REPOSITORY, read_settings(Path("/nowhere"), {}))
    assert facts["GPUs used"] == "none"


def test_jobs_of_a_cluster_need_no_share_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many at once as its file says, no more than there are cells; the report says what each had."""
    monkeypatch.delattr(slots, "stage_hardware")  # nobody looks at the head
    settings = read_settings(tmp_path, {"CAPILLARY_PLACE": "slurm"})
    assert [slot.name for slot in plan_slots(REPOSITORY, settings, 3)] == ["job 1", "job 2", "job 3"]
    planned = plan_slots(REPOSITORY, settings, 99)
    assert len(planned) == 8
    assert all(slot.environment == {} for slot in planned)
    _, facts = machine_facts(REPOSITORY, settings)
    assert facts["cells ran as"] == "Slurm jobs in the default partition: 4 cores, 16 GB, 08:00:00"
