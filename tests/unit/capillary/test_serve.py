"""`capillary serve` is the service itself, so what stops the command stops the service."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.parts import REPOSITORY

STAND_IN = "import os, time; print(os.getpid(), os.getcwd(), os.environ['SERVE_PORT'], flush=True); time.sleep(60)"
PROGRAM = (
    "from pathlib import Path; from capillary.serve import run_service; run_service(Path('at'), port=81, model='')"
)


def test_the_command_becomes_the_service(tmp_path: Path) -> None:
    """With a child between them, `kill` would end the command and leave the service."""
    for folder in ("serving", "at"):
        (tmp_path / folder).mkdir()
    (tmp_path / "at" / "dvc.yaml").touch()
    (tmp_path / "serving" / "__init__.py").touch()
    (tmp_path / "serving" / "__main__.py").write_text(STAND_IN)
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM], cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline().split() == [str(command.pid), str(tmp_path / "at"), "81"]
        command.send_signal(signal.SIGTERM)
    assert command.returncode == -signal.SIGTERM
