"""Memory, disks, swap, container and packages of the machine."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from stages.common.preflight.check import Status
from stages.common.preflight.checks.disk import check_disk, check_shared_memory
from stages.common.preflight.checks.packages import check_packages, read_pins
from stages.common.preflight.checks.ram import available_bytes, check_ram
from stages.common.preflight.checks.swap import check_swap
from stages.common.preflight.params import RamParams, SharedMemoryParams, SwapParams

GB = 10**9
MIB = 1 << 20


@pytest.mark.parametrize(("available_gb", "status"), [(0.9, Status.FAIL), (1.0, Status.PASS), (64.0, Status.PASS)])
def test_ram(available_gb: float, status: Status) -> None:
    """Less than the threshold fails, with the number."""
    check = check_ram(available_gb * GB, RamParams(critical=True, min_available_gb=1))
    assert check.status is status
    assert check.value == f"{available_gb:.{1 if available_gb >= 10 else 2}f} GB available"
    soft = check_ram(available_gb * GB, RamParams(critical=False, min_available_gb=1))
    assert soft.status is (Status.WARN if status is Status.FAIL else status)


def _group(folder: Path, limit: str, used: int, cached: int = 0, in_use: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\nactive_file {in_use}\n")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """The root of a machine with control groups of version 2, this process in /user/run."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/user/run\n")
    _group(tmp_path / "sys/fs/cgroup/user/run", "max", 10 * MIB)
    return tmp_path


def test_a_limit_of_the_container_counts(top: Path) -> None:
    """Cached files are given back when memory runs short: they are no use of it."""
    _group(top / "sys/fs/cgroup/user/run", str(100 * MIB), 60 * MIB, cached=20 * MIB)
    assert available_bytes(top) == 60 * MIB
    # also those that are read again and again, such as mapped volumes
    _group(top / "sys/fs/cgroup/user/run", str(100 * MIB), 99 * MIB, cached=20 * MIB, in_use=70 * MIB)
    assert available_bytes(top) == 91 * MIB


def test_a_limit_further_up_counts(top: Path) -> None:
    """A group cannot have more than the ones above leave."""
    _group(top / "sys/fs/cgroup/user", str(50 * MIB), 45 * MIB)
    assert available_bytes(top) == 5 * MIB


def test_the_groups_of_version_1_count(top: Path) -> None:
    """Older machines."""
    (top / "proc/self/cgroup").write_text("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n")
    folder = top / "sys/fs/cgroup/memory/docker/abc"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(str(30 * MIB))
    (folder / "memory.usage_in_bytes").write_text(str(10 * MIB))
    assert available_bytes(top) == 20 * MIB
    (folder / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {4 * MIB}\n")
    assert available_bytes(top) == 24 * MIB
    (top / "proc/self/cgroup").write_text("4:cpu,memory:/docker/abc\n")
    assert available_bytes(top) == 24 * MIB
    (top / "proc/self/cgroup").write_text("4:memory_other:/docker/abc\n")
    assert available_bytes(top) > 24 * MIB


def test_a_huge_number_does_not_count_as_a_limit(top: Path) -> None:
    """Control groups of version 1 write one instead of `max`."""
    (top / "proc/self/cgroup").write_text("4:memory:/x\n")
    folder = top / "sys/fs/cgroup/memory/x"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(str(2**63 - 4096))
    (folder / "memory.usage_in_bytes").write_text(str(2**63 - 8192))
    assert available_bytes(top) > MIB


def test_a_group_beyond_its_limit_leaves_nothing(top: Path) -> None:
    """A limit that was lowered later gives 0, not a negative number."""
    _group(top / "sys/fs/cgroup/user/run", str(10 * MIB), 60 * MIB)
    assert available_bytes(top) == 0


def test_a_container_sees_its_own_group_as_the_top(top: Path) -> None:
    """The limit in the topmost group counts; folders above it are ignored."""
    (top / "proc/self/cgroup").write_text("0::/\n")
    _group(top / "sys/fs/cgroup", str(30 * MIB), 10 * MIB)
    _group(top / "sys/fs", str(10 * MIB), 10 * MIB)
    assert available_bytes(top) == 20 * MIB


def test_without_a_limit_the_machine_s_own_memory_counts(top: Path) -> None:
    """As the system tells it."""
    assert available_bytes(top) == pytest.approx(psutil.virtual_memory().available, rel=0.3)


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """A disk of 1 MB, filled; a folder that is still to be made counts as where it will lie."""
    with _small_disk(tmp_path):
        full, inner = tmp_path / "full", tmp_path / "a" / "b"
        assert check_disk("x", inner, 0.0005, "free space", critical=True).status is Status.PASS
        with contextlib.suppress(OSError):
            full.write_bytes(b"x" * 2_000_000)
        check = check_disk("x", inner, 0.0005, "free space", critical=True)
        assert check.status is Status.FAIL
        assert (check.name, check.remedy) == ("disk of x", "free space")
        full.unlink()


def test_a_disk_that_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that only root may use do not count."""
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=10, f_bfree=10**9, f_frsize=4096))
    check = check_disk("x", tmp_path, 1, "free space", critical=True)
    assert (check.name, check.status, check.remedy) == ("disk of x", Status.FAIL, "free space")
    assert check.value == f"0.00 GB free at {tmp_path}"
    assert check_disk("x", tmp_path, 1, "", critical=False).status is Status.WARN
    assert check_disk("x", tmp_path, 40_960 / GB, "", critical=True).status is Status.PASS
    assert check_shared_memory(SharedMemoryParams(critical=True, min_free_gb=1), tmp_path).status is Status.FAIL
    assert check_shared_memory(SharedMemoryParams(critical=False, min_free_gb=1), tmp_path).status is Status.WARN


def test_a_folder_that_is_still_to_be_made_counts_as_where_it_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest existing parent is measured."""
    asked: list[Path] = []
    disk = SimpleNamespace(f_bavail=10**9, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda folder: asked.append(folder) or disk)
    (tmp_path / "a").mkdir()
    for folder in (tmp_path / "a", tmp_path / "a" / "b" / "c"):
        assert check_disk("x", folder, 1, "", critical=True).status is Status.PASS
    assert asked == [tmp_path / "a"] * 2


def test_a_system_without_shared_memory_needs_none(tmp_path: Path) -> None:
    """Only Linux has that folder."""
    check = check_shared_memory(SharedMemoryParams(critical=True, min_free_gb=1e9), tmp_path / "shm")
    assert (check.status, check.value) == (Status.PASS, "not used on this system")


def test_shared_memory_that_is_too_small(tmp_path: Path) -> None:
    """As in a container without --shm-size."""
    with _small_disk(tmp_path):
        check = check_shared_memory(SharedMemoryParams(critical=True, min_free_gb=0.05), tmp_path)
        assert check.status is Status.FAIL
        assert "shm" in check.remedy
    assert check_shared_memory(SharedMemoryParams(critical=True, min_free_gb=0), tmp_path).status is Status.PASS


@pytest.mark.parametrize(
    ("total_gb", "used_gb", "least_gb", "status", "word"),
    [
        (8, 1, 0, Status.PASS, ""),
        (8, 7.9, 0, Status.WARN, "swapoff -a && sudo swapon -a"),  # stale: full of what was moved out long ago
        (10, 8, 0, Status.PASS, ""),
        (10, 8.1, 0, Status.WARN, "swapoff -a && sudo swapon -a"),
        (100, 9, 0, Status.PASS, ""),
        (100, 9.1, 0, Status.WARN, "swapoff -a && sudo swapon -a"),  # little of it, and enough to be slow
        (0, 0, 0, Status.PASS, ""),
        (0, 0, 4, Status.WARN, "fallocate -l 4GB"),
        (4, 0, 4, Status.PASS, ""),
        (3.9, 0, 4, Status.WARN, "fallocate -l 4GB"),
    ],
)
def test_swap_is_never_more_than_a_warning(
    total_gb: float, used_gb: float, least_gb: float, status: Status, word: str
) -> None:
    """The command is suggested, not run."""
    params = SwapParams(min_total_gb=least_gb, max_used_gb=9, max_used_percent=80)
    check = check_swap(int(total_gb * GB), int(used_gb * GB), params, in_container=False)
    assert check.status is status
    assert word in check.remedy
    assert check.value == f"{100 * used_gb / (total_gb or 1):.0f}% of {total_gb:.1f} GB used"
    assert not check.critical


def test_swap_is_skipped_in_a_container() -> None:
    """It is the machine's."""
    check = check_swap(
        8 * GB, 8 * GB, SwapParams(min_total_gb=16, max_used_gb=1, max_used_percent=1), in_container=True
    )
    assert check.status is Status.PASS
    assert "skipped" in check.value


@pytest.mark.parametrize(
    ("pins", "status", "word"),
    [
        ({"psutil": version("psutil")}, Status.PASS, "1 as pinned"),
        ({"psutil": "0.0.1"}, Status.FAIL, f"psutil {version('psutil')} (pinned 0.0.1)"),
        ({"no-such-package": "1.0"}, Status.FAIL, "no-such-package missing"),
    ],
)
def test_packages_are_as_pinned(tmp_path: Path, pins: dict[str, str], status: Status, word: str) -> None:
    """What is installed in this interpreter against a requirements.txt."""
    file = tmp_path / "requirements.txt"
    file.write_text("# a comment\n" + "\n".join(f"{name}=={pinned}" for name, pinned in pins.items()))
    check = check_packages([file], critical=True)
    assert check.status is status
    assert word in check.value


def test_three_packages_are_named_and_the_rest_is_counted(tmp_path: Path) -> None:
    """The line stays short, however many are missing."""
    file = tmp_path / "requirements.txt"
    for count, more in ((3, ""), (5, " and 2 more")):
        file.write_text("".join(f"no-such-{number}==1\n" for number in range(count)))
        named = ", ".join(f"no-such-{number} missing (pinned 1)" for number in range(3))
        assert check_packages([file], critical=True).value == named + more
    assert check_packages([file], critical=False).status is Status.WARN


def test_pins_are_names_with_a_version(tmp_path: Path) -> None:
    """Extras, markers, comments and other lines are ignored."""
    file = tmp_path / "requirements.txt"
    file.write_text(
        "# tools\n--index-url https://x\nnumpy\n\na==1.2  # a reason\nb[all] == 2.0; python_version < '4'\n"
    )
    assert read_pins(file) == {"a": "1.2", "b": "2.0"}


def test_pins_of_several_files_are_all_checked(tmp_path: Path) -> None:
    """A wrong pin in any file is found."""
    for name, line in (("one", f"psutil=={version('psutil')}"), ("two", "no-such==1"), ("three", "")):
        (tmp_path / name).write_text(line + "\n")
    files = [tmp_path / name for name in ("one", "two", "three")]
    assert "no-such missing" in check_packages(files, critical=True).value
    assert check_packages([files[0], files[2]], critical=True).value == "1 as pinned"


def test_a_build_of_the_pinned_version_is_that_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch 2.13.0+cpu is torch 2.13.0: a real distribution, made here."""
    info = tmp_path / "buildofx-2.13.0+cpu.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: buildofx\nVersion: 2.13.0+cpu\n")
    (tmp_path / "requirements.txt").write_text("buildofx==2.13.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert check_packages([tmp_path / "requirements.txt"], critical=True).status is Status.PASS
    (tmp_path / "requirements.txt").write_text("buildofx==2.13.0+cu130\n")
    assert check_packages([tmp_path / "requirements.txt"], critical=True).status is Status.PASS
