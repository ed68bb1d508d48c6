"""Runs without a start: this process imports the libraries once, and each run is a fork of it.

The code under test is imported in the fork, from the folder in which it runs, never here.
"""

import contextlib
import gc
import importlib
import os
import random
import re
import resource
import select
import signal
import sys
import tempfile
import traceback
import types
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import psutil

ROOT = Path(__file__).resolve().parents[2]
OWN = (
    "benchmarks",
    "capillary",
    "conftest",
    "notebooks",
    "samples",
    "scripts",
    "services",
    "serving",
    "stages",
    "tests",
)
PYTEST = ("pytest", "_pytest.main", "hypothesis", "xdist.plugin", "pytest_timeout")
# set before the imports: libraries then start no threads, which a fork would lose
ALONE = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
IMPORT = re.compile(r"^ *(?:from ([a-z][\w.]*) import|import ([a-z][\w.]*))", re.MULTILINE)
PATIENCE = 5
BROKEN = 70  # the exit code of work that ended with an exception
MOST_BYTES = 16 << 30  # of address space: a fault that allocates for ever must not take the machine along


def import_libraries(modules: Iterable[Path]) -> None:
    """Import what `modules` import that is not our own."""
    os.environ.update(ALONE)
    found = (name for module in modules for names in IMPORT.findall(module.read_text()) for name in names if name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted({*PYTEST, *found}):
            if name.partition(".")[0] not in OWN:
                with contextlib.suppress(Exception):  # not installed, or no library but a word in a text
                    importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all of it


def run(
    work: Callable[[], int], folder: Path, variables: Mapping[str, str], output: BinaryIO, *, limit_s: int
) -> int | None:
    """`work` in a fork: its exit code, or None when it was killed after `limit_s` of CPU time, or for never ending.

    CPU time, because a busy machine is slow. What waits for ever takes none: it gets PATIENCE times as long by the
    clock, whose seconds are counted: those in which the machine slept are not.
    """
    process = os.fork()
    if process == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 1))
        _become(work, folder, variables, output)
    end = os.pidfd_open(process)
    try:
        if not any(select.select([end], [], [], 1)[0] for _ in range(PATIENCE * limit_s)):
            _kill(process)
            return None
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        return None if code == -signal.SIGXCPU else code
    finally:
        os.close(end)


def _kill(process: int) -> None:
    for each in [*psutil.Process(process).children(recursive=True), psutil.Process(process)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    os.waitpid(process, 0)


def _become(work: Callable[[], int], folder: Path, variables: Mapping[str, str], output: BinaryIO) -> None:
    """Run `work` as a program started in `folder` would run; never returns."""
    code = BROKEN
    try:
        os.chdir(folder)
        os.environ.update(variables)
        for number in (1, 2):
            os.dup2(output.fileno(), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
            del sys.modules[name]
        sys.modules["__main__"] = types.ModuleType("__main__")
        sys.path[:] = [str(folder), *(place for place in sys.path if place not in {"", str(ROOT)})]
        importlib.invalidate_caches()
        random.seed()
        tempfile.tempdir = None
        code = work()
    except BaseException:  # noqa: BLE001 - the caller reads it in the output
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
