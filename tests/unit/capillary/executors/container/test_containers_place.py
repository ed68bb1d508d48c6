import os
import socket
from pathlib import Path

import pytest
from docker.errors import NotFound

from capillary.executors.container import place as places
from capillary.executors.container.host_paths import MountedPaths, SamePaths
from capillary.executors.container.own_container import candidates, inspect_own
from capillary.executors.container.place import find_place
from stages.common.errors import CapillaryError
from tests.unit.capillary.executors.container.fake_daemon import Daemon, refusal

IN_MOUNTS, IN_CGROUP = "4f0c" * 16, "beef" * 16
NOBODY = refusal(404, kind=NotFound)


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/proc/self of a process in a container, whose host name is its short id."""
    monkeypatch.setattr(socket, "gethostname", lambda: "0123456789ab")
    row = f"640 622 254:1 /var/lib/docker/containers/{IN_MOUNTS}/{{0}} /etc/{{0}} rw - ext4 /dev/vda rw\n"
    (tmp_path / "mountinfo").write_text("".join(row.format(name) for name in ("hosts", "hostname")))
    (tmp_path / "cgroup").write_text(f"1:memory:/docker/{IN_CGROUP}\n2:pids:/docker/{IN_CGROUP}\n")
    return tmp_path


def test_possible_ids_come_once_and_the_surest_first(proc: Path) -> None:
    """Mounts, then cgroup, then the host name."""
    assert list(candidates(proc)) == [IN_MOUNTS, IN_CGROUP, "0123456789ab"]


@pytest.mark.parametrize("name", ["workstation", "0123456789AB", "0123456789abc", "0123456789a"])
def test_a_host_name_that_is_no_id_is_no_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """On a machine, where /proc describes no container."""
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert list(candidates(tmp_path)) == []


def test_the_own_container_is_the_first_that_the_daemon_knows(daemon: Daemon, proc: Path) -> None:
    """A daemon in this container, or on another machine, knows none."""

    def inspect(candidate: str) -> dict[str, str]:
        if candidate != IN_CGROUP:
            raise NOBODY
        return {"Id": candidate}

    daemon.answers["inspect_container"] = inspect
    assert inspect_own(daemon, proc) == {"Id": IN_CGROUP}
    assert len(daemon.asked) == 2
    daemon.answers["inspect_container"] = NOBODY
    assert inspect_own(daemon, proc) is None


@pytest.mark.parametrize(
    ("options", "user"),
    [
        ([], "1234:2345"),
        (["name=seccomp,profile=builtin"], "1234:2345"),
        (["name=seccomp,profile=builtin", "name=rootless"], "0:0"),
    ],
)
def test_on_a_machine_paths_are_its_own_and_stages_run_as_the_caller(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, options: list[str], user: str
) -> None:
    """A rootless daemon maps root to the caller."""
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(os, "getegid", lambda: 2345)
    monkeypatch.setattr(places, "inspect_own", lambda _api: None)
    daemon.answers["info"] = {"SecurityOptions": options, "MemTotal": 5 << 30}
    found = find_place(daemon)
    assert found.memory_bytes == 5 << 30
    assert isinstance(found.paths, SamePaths)
    assert (found.own_id, found.user) == (None, user)


def test_in_a_container_paths_go_through_its_mounts(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher's own container is known by its whole id. Not every daemon tells its options."""
    mounts = [{"Type": "bind", "Source": "/home/me/p", "Destination": "/workspace"}]
    monkeypatch.setattr(places, "inspect_own", lambda _api: {"Id": IN_MOUNTS, "Mounts": mounts})
    daemon.answers["info"] = {}
    found = find_place(daemon)
    assert isinstance(found.paths, MountedPaths)
    assert found.paths.translate(Path("/workspace/data")) == "/home/me/p/data"
    assert found.own_id == IN_MOUNTS


def test_a_daemon_that_refuses_to_tell_is_an_error(daemon: Daemon) -> None:
    """In the house's own words."""
    daemon.answers |= {"inspect_container": NOBODY, "info": refusal(500, "internal")}
    with pytest.raises(CapillaryError, match="could not tell about this container"):
        find_place(daemon)
