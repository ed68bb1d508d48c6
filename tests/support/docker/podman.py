"""Podman for tests, with the base image of the stages, which no test can download."""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from tests.support.parts import require

BASE = "python:3.11-slim-bookworm"


def podman() -> None:
    """Skips the test if there is no podman with the base image, fails it in CI."""
    found = shutil.which("podman") is not None
    has_base = found and subprocess.run(["podman", "image", "exists", BASE], check=False).returncode == 0
    require(has_base, f"podman with the image {BASE}")


def podman_settings(folder: Path) -> dict[str, str]:
    """Variables that let podman run containers on this machine.

    Its own limits may be above those of a virtual machine's root, and crun refuses cgroups of both versions at once,
    which runc takes.
    """
    names = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    limits = [f'"{name}={_hard(kind)}:{_hard(kind)}"' for name, kind in names.items()]
    engine = '[engine]\nruntime = "runc"\n' if shutil.which("runc") else ""
    (folder / "containers.conf").write_text(f"[containers]\ndefault_ulimits = [{', '.join(limits)}]\n{engine}")
    return {"CONTAINERS_CONF": str(folder / "containers.conf"), "TMPDIR": str(folder)}


def refuse_unable(settings: Mapping[str, str]) -> None:
    """Skips the test, in CI too, where this machine's kernel runs no container of podman's; says what it refuses."""
    argv = ["podman", "run", "--rm", "--network", "none", BASE, "true"]
    done = subprocess.run(argv, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"podman runs no container here: {done.stderr.strip().splitlines()[-1][:300]}")


def end_service(home: Path) -> None:
    """End the service that a launcher started with these settings."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:3] == ["system", "service"] and str(home) in process.cmdline()[-1]:
                process.terminate()
                process.wait(10)


def _hard(kind: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return 32768 if hard == resource.RLIM_INFINITY else min(hard, 32768)
