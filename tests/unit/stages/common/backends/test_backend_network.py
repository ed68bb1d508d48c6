"""The cases of backend_network_cases.py, in a process of their own: OpenVINO does not leave one as it was."""

import subprocess
import sys
from pathlib import Path

from tests.support.parts import REPOSITORY

CASES = Path(__file__).with_name("backend_network_cases.py")


def test_the_cases_of_openvino_pass_in_their_own_process() -> None:
    """In one that ran them, a signal that a later test raised ended the process."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(argv, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
