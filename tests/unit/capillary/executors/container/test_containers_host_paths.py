from pathlib import Path

import pytest

from capillary.executors.container.host_paths import Mount, MountedPaths, SamePaths, mounts_of
from capillary.executors.container.own_container import ids_in_cgroup, ids_in_mountinfo
from stages.common.errors import CapillaryError, ExitCode

ID = "4f0c" * 16
OTHER = "beef" * 16
# lines of real containers: cgroup v1 with overlay2; rootless with its own data folder
MOUNTINFO = f"""\
622 529 0:49 / / rw,relatime master:178 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/X:/var/lib/docker/Y
640 622 254:1 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw
641 622 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw
642 622 254:1 /home/me/my\\040project /workspace rw,relatime - ext4 /dev/vda rw
"""
HOST_MOUNTINFO = f"""\
25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
712 25 0:45 / /var/lib/docker/overlay2/abc/merged rw,relatime shared:300 - overlay overlay rw
713 25 0:46 / /var/lib/docker/containers/{OTHER}/mounts/shm rw shared:301 - tmpfs shm rw
"""


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (MOUNTINFO, [ID, ID]),
        (MOUNTINFO.replace("/var/lib/docker", "/home/me/.local/share/docker"), [ID, ID]),
        (HOST_MOUNTINFO, []),
        ("", []),
    ],
)
def test_the_own_container_is_read_from_its_mounts(text: str, ids: list[str]) -> None:
    """The files that Docker gives a container tell its id; other containers' mounts on a host do not count."""
    assert ids_in_mountinfo(text) == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (f"12:pids:/docker/{ID}\n11:memory:/docker/{ID}\n", [ID, ID]),
        (f"0::/system.slice/docker-{ID}.scope\n", [ID]),
        (f"5:cpu:/kubepods/burstable/pod1/{ID}\n", [ID]),
        ("0::/\n", []),
        ("12:pids:/user.slice/user-1000.slice\n", []),
    ],
)
def test_the_own_container_is_read_from_its_cgroup(text: str, ids: list[str]) -> None:
    """Version 1 and 2, with and without systemd."""
    assert ids_in_cgroup(text) == ids


def test_the_innermost_mount_decides(tmp_path: Path) -> None:
    """A volume inside the workspace has its own place on the host."""
    paths = MountedPaths(
        ID,
        [
            Mount(source="/home/me/my project", destination=str(tmp_path)),
            Mount(source="/var/lib/docker/volumes/cache/_data", destination=str(tmp_path / ".dvc/cache")),
        ],
    )
    assert paths.translate(tmp_path) == "/home/me/my project"
    assert paths.translate(tmp_path / "data/raw") == "/home/me/my project/data/raw"
    assert paths.translate(tmp_path / ".dvc/cache/files/md5") == "/var/lib/docker/volumes/cache/_data/files/md5"
    assert paths.translate(tmp_path / ".dvc/cache2") == "/home/me/my project/.dvc/cache2"
    assert [mount.source for mount in paths.below(tmp_path)] == ["/var/lib/docker/volumes/cache/_data"]
    assert paths.below(tmp_path / ".dvc/cache") == []
    assert SamePaths().below(tmp_path) == []


def test_a_mount_inside_that_the_host_has_no_path_for_is_left_out(tmp_path: Path) -> None:
    """Nobody could mount it again; what lies next to the folder is not in it."""
    mounts = {"/host": tmp_path, "": tmp_path / "run", "/a": tmp_path / "data/a", "/b": tmp_path / "data2/b"}
    paths = MountedPaths(ID, [Mount(source=source, destination=str(place)) for source, place in mounts.items()])
    assert {mount.source for mount in paths.below(tmp_path)} == {"/a", "/b"}
    assert [mount.source for mount in paths.below(tmp_path / "data")] == ["/a"]


def test_links_are_followed_before_translation(tmp_path: Path) -> None:
    """What counts is where the file lies, under whichever name it is asked for."""
    (tmp_path / "work").mkdir()
    (tmp_path / "big").mkdir()
    (tmp_path / "work" / "data").symlink_to(tmp_path / "big")
    paths = MountedPaths(
        ID,
        [
            Mount(source="/home/me/work", destination=str(tmp_path / "work")),
            Mount(source="/mnt/big", destination=str(tmp_path / "big")),
        ],
    )
    assert paths.translate(tmp_path / "work" / "data" / "x.tif") == "/mnt/big/x.tif"
    assert SamePaths().translate(tmp_path / "work" / "data") == str((tmp_path / "big").resolve())


@pytest.mark.parametrize("destination", ["/elsewhere", ""])
def test_a_path_that_no_mount_covers_is_named_with_the_mount_to_add(tmp_path: Path, destination: str) -> None:
    """Also one in a mount that the host has no path for, such as a tmpfs."""
    stacks = tmp_path / "stacks"
    stacks.mkdir()
    (tmp_path / "link").symlink_to(stacks)
    paths = MountedPaths(ID, [Mount(source="", destination=destination or str(tmp_path))])
    with pytest.raises(CapillaryError, match="cannot see") as caught:
        paths.translate(tmp_path / "link")
    assert str(tmp_path / "link") in caught.value.what
    assert f"leads to {stacks}" in caught.value.what
    assert f"--volume HOST_FOLDER:{stacks}" in caught.value.remedy
    assert ID[:12] in caught.value.what
    assert ID[:13] not in caught.value.what
    (stacks / "x.tif").touch()
    with pytest.raises(CapillaryError, match="cannot see") as caught:
        paths.translate(stacks / "x.tif")
    assert "leads to" not in caught.value.what
    assert caught.value.remedy.endswith(f"--volume HOST_FOLDER:{stacks}")
    assert caught.value.code == ExitCode.MACHINE


def test_mounts_are_read_from_the_daemons_answer() -> None:
    """Binds and volumes have a source; a tmpfs and a volume of a foreign driver have none."""
    inspected = {
        "Mounts": [
            {"Type": "bind", "Source": "/home/me/p", "Destination": "/workspace"},
            {"Type": "volume", "Name": "v", "Source": "/var/lib/docker/volumes/v/_data", "Destination": "/v"},
            {"Type": "tmpfs", "Source": "tmpfs", "Destination": "/run"},
            {"Type": "volume", "Name": "nfs", "Driver": "nfs", "Destination": "/n"},
        ]
    }
    assert [(mount.source, mount.destination) for mount in mounts_of(inspected)] == [
        ("/home/me/p", "/workspace"),
        ("/var/lib/docker/volumes/v/_data", "/v"),
        ("", "/run"),
        ("", "/n"),
    ]
