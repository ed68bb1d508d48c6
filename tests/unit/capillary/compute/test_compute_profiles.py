"""The profile table, row by row with its boundaries; what a profile comes to; what wins over it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from capillary.compute.computing import find_slots, resolve, stage_compute
from capillary.compute.hardware import GB, Hardware
from capillary.compute.profiles import COMPUTE_FILE, Choice, choose_profile, read_table
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, ExitCode, ParamsError
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits, find_limits
from stages.common.runtime import Compute
from tests.support.parts import REPOSITORY

TABLE = read_table(REPOSITORY)
GIB = 1 << 30


def _hardware(*sizes_gb: float | None, cores: int = 8, memory_gb: float = 64, nodes: int = 1) -> Hardware:
    gpus = tuple(
        Gpu(
            index=i,
            uuid=f"GPU-{i}",
            name=f"card {i}",
            memory_bytes=None if size is None else int(size * GB),
            free_bytes=None,
            driver="580.65.06",
        )
        for i, size in enumerate(sizes_gb)
    )
    limits = Limits(cores=cores, cores_reason="", memory_bytes=int(memory_gb * GB), memory_reason="", nodes=nodes)
    return Hardware(gpus=gpus, limits=limits)


@pytest.mark.parametrize(
    ("sizes_gb", "profile"),
    [
        ([], "cpu"),
        ([2], "cpu"),
        ([5.999], "cpu"),
        ([6], "gpu_low"),
        ([8], "gpu_low"),
        ([9.999], "gpu_low"),
        ([10], "gpu_high"),
        ([16], "gpu_high"),
        ([23.999], "gpu_high"),
        ([24], "dgx_spark"),
        ([40], "dgx_spark"),
        ([47.999], "dgx_spark"),
        ([48], "cloud_single"),
        ([80], "cloud_single"),
        ([192], "cloud_single"),
        ([8, 8], "cloud_multi"),
        ([80, 80, 80, 80], "cloud_multi"),
        ([24, 2], "dgx_spark"),  # the second is for the screen
        ([2, 2], "cpu"),
        ([None], "dgx_spark"),
        ([None, 48], "cloud_multi"),
    ],
)
def test_the_profile_table(sizes_gb: list[float | None], profile: str) -> None:
    """GPU memory and count decide; a boundary belongs to the upper profile."""
    assert choose_profile(_hardware(*sizes_gb), "auto", TABLE).profile == profile


@pytest.mark.parametrize(
    ("mebibytes", "profile"),
    [(6144, "gpu_low"), (10240, "gpu_high"), (24564, "dgx_spark"), (49140, "cloud_single"), (15360, "gpu_high")],
    ids=["GTX 1060 6 GB", "RTX 3080 10 GB", "RTX 4090 24 GB", "RTX A6000 48 GB", "T4 16 GB"],
)
def test_a_card_is_what_it_is_sold_as(mebibytes: int, profile: str) -> None:
    """Drivers keep a part of the memory; the card still lands in the row of its size on the box."""
    assert choose_profile(_hardware(mebibytes * (1 << 20) / GB), "auto", TABLE).profile == profile


def test_a_gpu_that_is_too_small_is_not_used_and_the_user_is_told() -> None:
    """The CPU computes; the warning names card and limit."""
    choice = choose_profile(_hardware(4), "auto", TABLE)
    assert (choice.profile, choice.gpus, choice.settings.device) == ("cpu", (), "cpu")
    assert "card 0 with 4.0 GB has less than 6 GB" in choice.warnings[0]
    assert choose_profile(_hardware(8), "auto", TABLE).warnings == ()


@pytest.mark.parametrize("name", ["cpu", "gpu_low", "gpu_high", "dgx_spark", "cloud_single", "cloud_multi"])
@pytest.mark.parametrize("sizes_gb", [[], [8], [80, 80]])
def test_an_explicit_profile_always_wins(name: str, sizes_gb: list[float]) -> None:
    """Whatever the machine is; a GPU's profile without a GPU comes with a warning."""
    choice = choose_profile(_hardware(*sizes_gb), name, TABLE)
    assert choice.profile == name
    assert len(choice.gpus) == (0 if name == "cpu" else len(sizes_gb))
    assert bool(choice.warnings) == (name != "cpu" and not sizes_gb)


def test_an_unknown_profile_is_refused_with_the_nearest_known_name() -> None:
    """A typing mistake does not fall back to auto."""
    with pytest.raises(CapillaryError, match="did you mean `gpu_high`") as caught:
        choose_profile(_hardware(), "gpu_hihg", TABLE)
    assert caught.value.code == ExitCode.USAGE
    assert "dgx_spark" in caught.value.remedy


def _resolve(choice: Choice, hardware: Hardware, slots: int = 1, **variables: str) -> Compute:
    return resolve(choice, hardware, read_settings(Path("/nowhere"), variables), slots)


def _slots(choice: Choice, hardware: Hardware, **variables: str) -> int:
    return find_slots(choice, hardware, read_settings(Path("/nowhere"), variables))


@pytest.mark.parametrize(
    ("sizes_gb", "cores", "memory_gb", "slots"),
    [
        ([], 1, 64, 1),
        ([], 2, 64, 2),
        ([], 4, 64, 2),
        ([], 16, 64, 4),
        ([], 16, 9, 2),
        ([], 64, 2, 1),
        ([16], 16, 64, 1),
        ([16, 16, 16], 16, 64, 3),
        ([16, 16, 2], 16, 64, 2),
    ],
)
def test_slots_are_gpus_or_cpu_shares_within_the_memory(
    sizes_gb: list[float], cores: int, memory_gb: float, slots: int
) -> None:
    """One cell a usable GPU; on a CPU one for four cores, two from two cores on."""
    hardware = _hardware(*sizes_gb, cores=cores, memory_gb=memory_gb)
    assert _slots(choose_profile(hardware, "auto", TABLE), hardware) == slots


def test_slots_share_cores_and_explicit_numbers_win() -> None:
    """Two cells on eight cores have four threads each, unless the user says otherwise."""
    hardware = _hardware(cores=8)
    choice = choose_profile(hardware, "auto", TABLE)
    assert _resolve(choice, hardware).threads == 8
    assert _resolve(choice, hardware, slots=2).threads == 4
    assert _resolve(choice, hardware, slots=16).threads == 1
    explicit = _resolve(
        choice,
        hardware,
        slots=2,
        CAPILLARY_THREADS="7",
        CAPILLARY_WORKERS="3",
        CAPILLARY_MICRO_BATCH="1",
        CAPILLARY_PROCESSES="2",
    )
    assert (explicit.threads, explicit.workers, explicit.micro_batch, explicit.processes) == (7, 3, 1, 2)


@pytest.mark.parametrize(("sizes_gb", "workers"), [([80], 8), ([], 64)])
def test_a_gpu_is_not_fed_by_more_loaders_than_it_needs(sizes_gb: list[float], workers: int) -> None:
    """64 cores, eight loaders; on a CPU the number is that of its cores."""
    hardware = _hardware(*sizes_gb, cores=64)
    assert _resolve(choose_profile(hardware, "auto", TABLE), hardware).workers == workers


def test_processes_share_cores_and_gpus() -> None:
    """Two processes a cell: each has half of the cores, and a cell takes two GPUs, or two shares of the CPU."""
    hardware = _hardware(80, 80, 80, 80, cores=32)
    computing = _resolve(choose_profile(hardware, "auto", TABLE), hardware, CAPILLARY_PROCESSES="2")
    assert (computing.threads, computing.processes) == (16, 2)
    assert _slots(choose_profile(hardware, "auto", TABLE), hardware, CAPILLARY_PROCESSES="2") == 2
    hardware = _hardware(cores=32)
    computing = _resolve(choose_profile(hardware, "auto", TABLE), hardware, CAPILLARY_PROCESSES="2")
    assert computing.threads == 16
    assert _slots(choose_profile(hardware, "auto", TABLE), hardware, CAPILLARY_PROCESSES="2") == 4


@pytest.mark.parametrize(
    ("asked", "processes", "threads"), [("", 2, 32), ("1", 2, 32), ("2", 2, 32), ("4", 4, 16), ("8", 8, 8)]
)
def test_processes_are_spread_over_nodes(asked: str, processes: int, threads: int) -> None:
    """At least one on each of two nodes, and as many on each; their threads share the cores of one node."""
    hardware = _hardware(cores=32, nodes=2)
    variables = {"CAPILLARY_PROCESSES": asked} if asked else {}
    computing = _resolve(choose_profile(hardware, "auto", TABLE), hardware, **variables)
    assert (computing.nodes, computing.processes, computing.threads) == (2, processes, threads)


def test_processes_that_nodes_cannot_share_equally_are_refused() -> None:
    """Before a job is submitted."""
    hardware = _hardware(cores=32, nodes=2)
    with pytest.raises(CapillaryError, match="3 processes cannot be shared equally by 2 nodes"):
        _resolve(choose_profile(hardware, "auto", TABLE), hardware, CAPILLARY_PROCESSES="3")


def test_numbers_of_a_profile_are_taken_as_they_are(tmp_path: Path) -> None:
    """Where a profile says a number instead of auto."""
    numbers = {"workers": 3, "threads": 5, "micro_batch": 4, "processes": 2}
    edits = {f"profiles__cpu__{key}": value for key, value in {**numbers, "slots": 7}.items()}
    table = read_table(_edited(tmp_path, **edits))
    hardware = _hardware(cores=64)
    computing = _resolve(choose_profile(hardware, "auto", table), hardware)
    assert {key: getattr(computing, key) for key in numbers} == numbers
    assert _slots(choose_profile(hardware, "auto", table), hardware) == 7


@pytest.mark.parametrize(
    ("sizes_gb", "reason"),
    [
        ([], "no GPU"),
        ([4], "no GPU of 6 GB or more"),
        ([16], "card 0 with 16.0 GB"),
        ([None], "card 0 shares the machine's memory"),
        ([16, 24], "2 GPUs: card 0 with 16.0 GB, card 1 with 24.0 GB"),
    ],
)
def test_the_reason_names_what_decided(sizes_gb: list[float | None], reason: str) -> None:
    """The GPUs that count, with their memory."""
    assert choose_profile(_hardware(*sizes_gb), "auto", TABLE).reason == reason
    assert choose_profile(_hardware(*sizes_gb), "cpu", TABLE).reason == "asked for"


@pytest.mark.parametrize("name", TABLE.profiles)
def test_a_stage_is_told_what_the_profile_says(name: str) -> None:
    """A word of the table is a switch or a number there."""
    compute, profile = _resolve(choose_profile(_hardware(16), name, TABLE), _hardware(16)), TABLE.profiles[name]
    assert compute == Compute(
        profile=name,
        device=profile.device,
        micro_batch=None,
        workers=8,
        threads=8,
        amp=profile.amp == "auto",
        cache=profile.cache,
        compile=profile.compile == "auto",
        processes=1,
    )


def test_a_stage_without_a_gpu_needs_no_profile_and_asks_for_no_gpu(tmp_path: Path) -> None:
    """Not even the file: its start stays as quick as it was."""
    settings = read_settings(tmp_path, {"CAPILLARY_PROFILE": "no such profile", "CAPILLARY_WORKERS": "3"})
    compute = stage_compute(tmp_path, settings, None)
    assert compute == Compute(device="cpu", workers=3, threads=find_limits().cores)
    settings = read_settings(tmp_path, {"CAPILLARY_THREADS": "5"})
    assert stage_compute(tmp_path, settings, None).threads == 5


def test_a_stage_that_can_use_a_gpu_is_told_the_profile(capsys: pytest.CaptureFixture[str]) -> None:
    """That of the GPUs that are there, or the one that was asked for; warnings are told."""
    settings = read_settings(REPOSITORY, {})
    assert stage_compute(REPOSITORY, settings, lambda: _hardware(16).gpus).profile == "gpu_high"
    assert capsys.readouterr().out == ""
    assert stage_compute(REPOSITORY, settings, lambda: _hardware(4).gpus).profile == "cpu"
    assert "warning: card 0 with 4.0 GB has less than 6 GB" in capsys.readouterr().out
    asked_for = read_settings(REPOSITORY, {"CAPILLARY_PROFILE": "gpu_low"})
    assert stage_compute(REPOSITORY, asked_for, lambda: _hardware(16).gpus).profile == "gpu_low"


def _edited(tmp_path: Path, **changes: Any) -> Path:
    tree = yaml.safe_load((REPOSITORY / COMPUTE_FILE).read_text().replace(": off", ": 'off'"))
    for path, value in changes.items():
        *sections, last = path.split("__")
        target = tree
        for section in sections:
            target = target[section]
        target[last] = value
    (tmp_path / "configs").mkdir()
    (tmp_path / COMPUTE_FILE).write_text(yaml.safe_dump(tree))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"profiles__cpu__amb": "off"}, "did you mean `amp`"),
        ({"profiles__cpu__micro_batch": 0}, "micro_batch"),
        ({"profiles__cpu__cache": "disk"}, "cache"),
        ({"choice__several_gpus": "cloud"}, "`cloud`, which is not a profile"),
        ({"choice__from_gb": {"gpu_low": 6}}, "0 GB"),
    ],
)
def test_a_malformed_table_is_refused_by_key(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    """Before any stage starts."""
    with pytest.raises(ParamsError, match=named):
        read_table(_edited(tmp_path, **changes))
