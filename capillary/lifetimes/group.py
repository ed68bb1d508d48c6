"""Programs that run next to this one, each in its own process group."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def start_group(argv: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `argv`, whose output is read line by line. A Ctrl-C does not reach it: pass requests to stop on to it."""
    return subprocess.Popen(
        argv,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
