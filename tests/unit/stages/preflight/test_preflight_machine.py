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

from stages.preflight.check import Status
from stages.preflight.checks.container import in_container
from stages.preflight.checks.disk import check_disk, check_shared_memory
from stages.preflight.checks.packages import check_packages
from stages.preflight.checks.ram import available_bytes, check_ram
from stages.preflight.checks.swap import check_swap
from stages.preflight.params import RamParams, SharedMemoryParams, SwapParams

GB = 10**9
MIB = 1 << 20


@pytest.mark.parametrize(("available_gb", "status"), [(0.9, Status.FAIL), (1.0, Status.PASS), (64.0, Status.PASS)])
def test_ram(available_gb: float, status: Status) -> None:
    """Less than the threshold fails, with the number."""
    check = check_ram(available_gb * GB, RamParams(critical=True, min_available_gb=1))
    assert check.status is status
    assert f"{available_gb:g}" in check.value


def _group(folder: Path, limit: str, used: int, cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")


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
    assert check_disk("x", tmp_path, 1, "", critical=True).status is Status.FAIL
    assert check_disk("x", tmp_path, 1, "", critical=False).status is Status.WARN


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
        (0, 0, 0, Status.PASS, ""),
        (0, 0, 4, Status.WARN, "fallocate -l 4GB"),
    ],
)
def test_swap_is_never_more_than_a_warning(
    total_gb: float, used_gb: float, least_gb: float, status: Status, word: str
) -> None:
    """The command is suggested, not run."""
    params = SwapParams(min_total_gb=least_gb, max_used_percent=80)
    check = check_swap(int(total_gb * GB), int(used_gb * GB), params, in_container=False)
    assert check.status is status
    assert word in check.remedy
    assert not check.critical


def test_swap_is_skipped_in_a_container() -> None:
    """It is the machine's."""
    check = check_swap(8 * GB, 8 * GB, SwapParams(min_total_gb=16, max_used_percent=1), in_container=True)
    assert check.status is Status.PASS
    assert "skipped" in check.value


@pytest.mark.parametrize(
    ("file", "text", "inside"),
    [
        (".dockerenv", "", True),
        ("run/.containerenv", "", True),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n", True),
        ("proc/1/cgroup", "0::/init.scope\n", False),
    ],
)
def test_a_container_is_known_by_its_marks(tmp_path: Path, file: str, text: str, inside: bool) -> None:
    """Docker, Podman, Kubernetes, and a machine."""
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert in_container(tmp_path) is inside


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


def test_a_build_of_the_pinned_version_is_that_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch 2.13.0+cpu is torch 2.13.0: a real distribution, made here."""
    info = tmp_path / "buildofx-2.13.0+cpu.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: buildofx\nVersion: 2.13.0+cpu\n")
    (tmp_path / "requirements.txt").write_text("buildofx==2.13.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert check_packages([tmp_path / "requirements.txt"], critical=True).status is Status.PASS
