"""Podman's socket: the usual one, the one that is named, or one of this user's own, whose service is started."""

import os
import socket
from pathlib import Path

import pytest

from capillary.executors.container.podman import service
from capillary.executors.container.podman.service import usual_socket, with_address
from stages.common.errors import ServiceError


def test_where_the_socket_usually_is() -> None:
    """The system's for root, the session's for others."""
    assert usual_socket({}, 0) == Path("/run/podman/podman.sock")
    assert usual_socket({"XDG_RUNTIME_DIR": "/run/user/7"}, 7) == Path("/run/user/7/podman/podman.sock")
    assert usual_socket({}, 7) == Path("/run/user/7/podman/podman.sock")


def test_a_socket_that_is_named() -> None:
    """Nothing is looked for or started; the other variables stay."""
    found = with_address({"CONTAINER_HOST": "unix:///x.sock", "A": "a"})
    assert found == {"CONTAINER_HOST": "unix:///x.sock", "A": "a", "DOCKER_HOST": "unix:///x.sock"}


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which no service listens; the folder of its programs."""
    monkeypatch.setattr(service, "usual_socket", lambda _variables, _uid: tmp_path / "none")
    programs = tmp_path / "bin"
    programs.mkdir()
    return programs


def test_a_service_of_this_user_that_runs_is_used(nobody: Path, tmp_path: Path) -> None:
    """Another launcher started it."""
    folder = tmp_path / f"capillary-podman-{os.geteuid()}"
    folder.mkdir(mode=0o700)
    (nobody / "podman").write_text("#!/bin/sh\nexit 3\n")
    (nobody / "podman").chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "podman.sock"))
        listening.listen()
        found = with_address({"PATH": str(nobody), "TMPDIR": str(tmp_path)})
    assert found["DOCKER_HOST"] == f"unix://{folder}/podman.sock"


def test_a_service_that_does_not_start_says_why(nobody: Path, tmp_path: Path) -> None:
    """With Podman's own words."""
    (nobody / "podman").write_text("#!/bin/sh\necho no subuid ranges >&2\nexit 125\n")
    (nobody / "podman").chmod(0o755)
    with pytest.raises(ServiceError, match="does not start") as caught:
        with_address({"PATH": str(nobody), "TMPDIR": str(tmp_path)})
    assert caught.value.value == "no subuid ranges"


def test_a_machine_without_podman_is_told_so(nobody: Path, tmp_path: Path) -> None:
    """With the ways to get it."""
    with pytest.raises(ServiceError, match="podman is not on PATH"):
        with_address({"PATH": str(nobody), "TMPDIR": str(tmp_path)})


def test_a_folder_that_others_may_use_is_refused(nobody: Path, tmp_path: Path) -> None:
    """Whoever may write to the socket may do what this user may."""
    (nobody / "podman").touch(mode=0o755)
    folder = tmp_path / f"capillary-podman-{os.geteuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ServiceError, match="others can enter it"):
        with_address({"PATH": str(nobody), "TMPDIR": str(tmp_path)})
