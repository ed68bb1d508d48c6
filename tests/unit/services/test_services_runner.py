import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.parts import REPOSITORY

Load = Callable[[str], ModuleType]
USAGE = 2


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What of a checkout the image is built from, and more."""
    root = tmp_path / "checkout"
    files = {
        "pyproject.toml": '[project]\nname = "x"\ndependencies = ["a==1", "b>2"]\n',
        "constraints.txt": "a==1\n",
        "Dockerfile.dvc-runner": "FROM x\n",
        "services/runner/entrypoint.py": "",
        "services/runner/notes.txt": "",
        "stages/common/lifetimes/locks.py": "",
        "capillary/__init__.py": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def entrypoint(load: Load, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The entrypoint, with a home and its own socket."""
    module = load("runner/entrypoint.py")
    monkeypatch.setattr(module, "WORKSPACE", checkout)
    monkeypatch.setattr(module, "SOCKET", tmp_path / "docker.sock")
    monkeypatch.setattr(module, "HOME", tmp_path / "home")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.setenv(name, "before")
    return module


def listen(file: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(file))
    server.listen()
    return server


def test_the_stamp_is_all_that_makes_the_image(load: Load, checkout: Path) -> None:
    """The entrypoint compares it with the checkout's; other files of the checkout may change."""
    requirements = load("runner/requirements.py")
    assert requirements.base_dependencies(checkout) == ["a==1", "b>2"]
    stamps = [requirements.stamp(checkout)]
    for name, text in {
        "pyproject.toml": '[project]\nname = "x"\ndependencies = ["a==1"]\n',
        "constraints.txt": "a==2\n",
        "Dockerfile.dvc-runner": "FROM y\n",
        "services/runner/entrypoint.py": "pass",
        "services/runner/supervise.py": "",
        "stages/common/lifetimes/locks.py": "pass",
    }.items():
        (checkout / name).write_text(text)
        stamps.append(requirements.stamp(checkout))
    assert len(set(stamps)) == 6
    for name in ("capillary/__init__.py", "services/runner/notes.txt"):
        (checkout / name).write_text("changed")
    (checkout / "pyproject.toml").write_text('[project]\nname = "y"\ndependencies = ["a==1"]\n')
    assert requirements.stamp(checkout) == stamps[6]


def test_the_build_reads_requirements_and_stamp_from_the_command_line(checkout: Path) -> None:
    """One requirement a line."""
    program = REPOSITORY / "services/runner/requirements.py"
    words = {
        wanted: subprocess.run([sys.executable, program, wanted, checkout], capture_output=True, text=True, check=True)
        for wanted in ("list", "stamp")
    }
    assert words["list"].stdout == "a==1\nb>2\n"
    assert len(words["stamp"].stdout) == 65


def refusal(capsys: pytest.CaptureFixture[str], check: Callable[[], object]) -> str:
    with pytest.raises(SystemExit) as caught:
        check()
    assert caught.value.code == USAGE
    return capsys.readouterr().err


def test_missing_mounts_are_named(
    entrypoint: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No checkout, no socket, and what is not a socket."""
    said = refusal(capsys, entrypoint.require_mounts)
    assert said.startswith("error: no checkout is mounted")
    assert said.count("\n") == 1
    monkeypatch.setattr(entrypoint, "WORKSPACE", Path("/"))  # a mount, like any root
    assert "error: no Docker socket is mounted" in refusal(capsys, entrypoint.require_mounts)
    entrypoint.SOCKET.touch()
    assert "error: no Docker socket is mounted" in refusal(capsys, entrypoint.require_mounts)
    entrypoint.SOCKET.unlink()
    with listen(entrypoint.SOCKET):
        entrypoint.require_mounts()
    entrypoint.SOCKET.unlink()
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    entrypoint.require_mounts()


def test_a_user_without_a_name_gets_one(
    entrypoint: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git and getpass want it; users that have one keep it."""
    (tmp_path / "etc").mkdir()
    monkeypatch.setattr(entrypoint, "Path", lambda name: tmp_path / name.lstrip("/"))
    unknown = 2**31 - 17
    assert entrypoint.name_of(0, 0) == "root"
    assert list((tmp_path / "etc").iterdir()) == []
    assert entrypoint.name_of(unknown, unknown) == "capillary"
    assert (tmp_path / "etc/group").read_text() == f"capillary:x:{unknown}:\n"
    assert (tmp_path / "etc/passwd").read_text() == f"capillary:x:{unknown}:{unknown}::{entrypoint.HOME}:/bin/sh\n"


@pytest.mark.parametrize("with_socket", [True, False])
def test_the_command_is_run_by_the_checkout_s_owner(
    entrypoint: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch, with_socket: bool
) -> None:
    """With the socket's group and no right of root."""
    monkeypatch.setattr(entrypoint, "name_of", lambda uid, gid: f"{uid}-{gid}")
    owner = checkout.stat()
    if with_socket:
        entrypoint.SOCKET.touch()
    groups = ["--groups", str(owner.st_gid)] if with_socket else ["--clear-groups"]
    assert entrypoint.as_owner(["dvc", "repro"]) == [
        *("setpriv", "--reuid", str(owner.st_uid), "--regid", str(owner.st_gid), *groups),
        *("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--", "dvc", "repro"),
    ]
    assert entrypoint.HOME.stat().st_uid == owner.st_uid
    assert (os.environ["HOME"], os.environ["USER"]) == (str(entrypoint.HOME), f"{owner.st_uid}-{owner.st_gid}")
    assert os.environ["LOGNAME"] == os.environ["USER"]


@pytest.mark.parametrize("uid", [0, 1000])
def test_root_becomes_the_owner_and_others_stay_who_they_are(
    entrypoint: ModuleType, became: Any, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    """Then the supervisor takes over, with the modules next to it alone."""
    monkeypatch.setattr(entrypoint, "require_mounts", lambda: None)
    monkeypatch.setattr(entrypoint, "as_owner", lambda argv: ["setpriv", *argv])
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(became) as caught:
        entrypoint.main(["dvc", "repro"])
    supervised = [sys.executable, "-E", "-s", "-S", str(REPOSITORY / "services/runner/supervise.py"), "dvc", "repro"]
    assert caught.value.argv == (["setpriv", *supervised] if uid == 0 else supervised)


def test_nothing_starts_without_mounts(entrypoint: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """They are looked at first."""
    assert "no checkout is mounted" in refusal(capsys, lambda: entrypoint.main(["true"]))


def test_the_programs_need_the_standard_library_alone(checkout: Path, tmp_path: Path) -> None:
    """They start before anything is importable: here without site packages, with the files that the image carries."""
    folder = tmp_path / "alone"
    shutil.copytree(REPOSITORY / "services/runner", folder)
    shutil.copytree(REPOSITORY / "stages/common/lifetimes", folder / "stages/common/lifetimes")
    for package in ("stages", "stages/common"):
        shutil.copy(REPOSITORY / package / "__init__.py", folder / package)
    for name in ("entrypoint", "requirements", "supervise"):
        argv = [sys.executable, "-E", "-s", "-S", "-c", f"import {name}"]
        subprocess.run(argv, cwd=folder, check=True)
