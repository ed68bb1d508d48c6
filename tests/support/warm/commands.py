"""The folder with a warm `python`, `dvc` and `capillary`, made with its server when a test run first asks for it."""

import fcntl
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.parts import command_environment

HERE = Path(__file__).parent
ALONE_FOLDER = "dvc-alone"
# libraries that start threads when they load are told to do without: a fork would not have them
ALONE = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def warm_environment(**more: str) -> dict[str, str]:
    """A user's environment in which `dvc`, `capillary` and the stages that they start are warm."""
    return with_warm_commands(command_environment(CAPILLARY_TEST_WARM="all", **more))


def with_warm_commands(environment: dict[str, str]) -> dict[str, str]:
    """`environment`, in which `dvc` and `capillary` are warm. A stage is so, too, under CAPILLARY_TEST_WARM=all."""
    return {**environment, "PATH": f"{commands()}{os.pathsep}{environment['PATH']}"}


def with_warm_dvc(environment: dict[str, str]) -> dict[str, str]:
    """`environment`, in which DVC alone is warm: the launcher and its stage are processes of their own."""
    return {**environment, "PATH": f"{commands() / ALONE_FOLDER}{os.pathsep}{environment['PATH']}"}


def warm_python() -> str:
    """An interpreter that has the libraries, for programs that are started with it."""
    return str(commands() / "python")


@functools.cache
def commands() -> Path:
    """The folder. All processes of a test run share it; its server ends with the run, and removes it."""
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    folder = Path(tempfile.gettempdir()) / f"capillary-warm-{os.getuid()}-{run}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _answers(folder / "socket"):
            shutil.rmtree(folder, ignore_errors=True)
            _start(folder, run)
    return folder


def _answers(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0


def _start(folder: Path, run: int) -> None:
    folder.mkdir(mode=0o700)
    address, python = folder / "socket", folder / "python"
    client = (HERE / "client.py").read_text().replace("@SOCKET@", str(address)).replace("@PYTHON@", sys.executable)
    _write_program(python, f"#!{sys.executable} -IS\n{client}")
    for name in ("dvc", "capillary"):
        script = (Path(sys.prefix) / "bin" / name).read_text().partition("\n")[2]
        _write_program(folder / name, f"#!{python}\n{script}")
    (folder / ALONE_FOLDER).mkdir()
    (folder / ALONE_FOLDER / "dvc").symlink_to(folder / "dvc")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CAPILLARY_", "MLFLOW_", "DVC_"))}
    read, write = os.pipe()
    subprocess.Popen(
        [sys.executable, HERE / "server.py", str(address), str(python), str(run), str(write)],
        env={**kept, **ALONE},
        cwd="/",
        pass_fds=[write],
        # no pipe of the tests' is left open in it: who reads their output would be kept waiting
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("w"),
    )
    os.close(write)
    with os.fdopen(read) as ready:
        assert ready.read() == "ready", f"the server of warm commands did not start:\n{(folder / 'log').read_text()}"


def _write_program(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)
