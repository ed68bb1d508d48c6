"""Whether this process runs in a container, on machines that are made up."""

from pathlib import Path

import pytest

from stages.common.machine.container import container_sign


@pytest.mark.parametrize(
    ("file", "text", "sign"),
    [
        (".dockerenv", "", "/.dockerenv exists"),
        ("run/.containerenv", "", "/run/.containerenv exists"),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n", "the first process is in a cgroup of kubepods"),
        ("proc/1/cgroup", "4:memory:/docker/0123\n", "the first process is in a cgroup of docker"),
        ("proc/1/cgroup", "0::/system.slice/containerd.service\n", "the first process is in a cgroup of containerd"),
        ("proc/1/cgroup", "0::/machine.slice/libpod-0123.scope\n", "the first process is in a cgroup of libpod"),
        ("proc/1/cgroup", "0::/lxc/box\n", "the first process is in a cgroup of lxc"),
        ("proc/1/cgroup", "0::/garden/box\n", "the first process is in a cgroup of garden"),
        ("proc/1/cgroup", "0::/init.scope\n", None),
    ],
)
def test_a_container_is_known_by_its_marks(tmp_path: Path, file: str, text: str, sign: str | None) -> None:
    """Docker, Podman, Kubernetes, and a machine."""
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert container_sign(tmp_path) == sign


def test_a_machine_without_such_files_is_none(tmp_path: Path) -> None:
    """As on systems other than Linux."""
    assert container_sign(tmp_path) is None
