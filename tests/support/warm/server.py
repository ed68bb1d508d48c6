"""The server: imports once, then forks a child for each request, which becomes the command.

    python server.py SOCKET PYTHON RUN READY

SOCKET is where clients connect; PYTHON is the client that children start in place of their own interpreter; RUN
is the process with which the server ends; READY is a pipe that is told when the server listens.
A request is a marshalled dict with `argv`, `environment`, `folder`, `umask`, `client`, `ignored` (signals) and `files`,
the numbers under which the command has the open files that are sent along. The answer is the child's number, then its
wait status.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import itertools
import logging
import marshal
import multiprocessing
import os
import random
import runpy
import select
import shutil
import signal
import socket
import sys
import sysconfig
import tempfile
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

NUMBER_BYTES = 8
MOST_FILES = 64
OWN_NUMBERS = 500  # from here on the server has its own open files
# what most commands import; what else they do is learnt from them
PACKAGES = (
    "torch",
    "torch._inductor",  # by torch.use_deterministic_algorithms
    "monai.networks.nets",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",  # by the first question to an embedded store
    "pandas",
    "skimage.morphology",
    "dvc.cli",
    "docker",
    "typer",
)
OWN = ("capillary", "stages")
HOST_SIDE = (
    "capillary.cli",
    "capillary.launcher.command",
    "capillary.dvc.command",
    "capillary.executors.container.execute",
)


def serve(listener: socket.socket, run: int, lessons: IO[str], known: set[str]) -> Callable[[], object]:
    """Answer until the test run has ended; returns in children only, what each is to run."""
    end = out_of_the_way(os.pidfd_open(run))
    while end not in (ready := select.select([listener, lessons, end], [], [])[0]):
        if lessons in ready:
            learn(lessons, known)
        if listener not in ready:
            continue
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        listener.close()
        os.close(end)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return attend(connection)
    folder = Path(listener.getsockname()).parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".lock").unlink(missing_ok=True)
    os._exit(0)


def learn(lessons: IO[str], known: set[str]) -> None:
    """Import what a command had to import by itself, for those that come after it."""
    for name in lessons.readline().split():
        with contextlib.suppress(ImportError):  # a name that an extension module made for itself
            importlib.import_module(name)
    known.update(sys.modules)
    assert_alone()


def assert_alone() -> None:
    """A fork has the thread that made it and no other."""
    assert len(os.listdir("/proc/self/task")) == 1, "a library started a thread when it was imported"


def teach(known: set[str], lessons: int) -> None:
    """Tell the server which installed modules it did not know, one line of at most what a pipe takes as a whole."""
    packages = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    new = [
        name
        for name, module in list(sys.modules.items())
        if name not in known
        and not name.endswith("__main__")
        and str(getattr(module, "__file__", "")).startswith(packages)
    ]
    line = f"{' '.join(new)}"[: select.PIPE_BUF - 1].rpartition(" ")[0]
    if line:
        os.write(lessons, f"{line}\n".encode())


def attend(connection: socket.socket) -> Callable[[], object]:
    """Fork the command and report its end; returns in the command's own process only."""
    request, files = receive(connection)
    if not request:
        os._exit(0)  # somebody asked whether this server answers
    child = os.fork()
    if child == 0:
        connection.close()
        return become(request, files)
    for file in files:
        os.close(file)
    ended = os.pidfd_open(child)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # killed while it asked: its end is read below
        connection.sendall(child.to_bytes(NUMBER_BYTES, "big"))
    readable, _, _ = select.select([ended, connection], [], [])
    if ended not in readable:  # the client was killed: nobody waits for the command any more
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(status.to_bytes(NUMBER_BYTES, "big"))
    os._exit(0)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request and the open files that came with its length."""
    head, files, _, _ = socket.recv_fds(connection, NUMBER_BYTES, MOST_FILES)
    length, parts = int.from_bytes(head, "big"), b""
    if not length:
        return {}, []
    while len(parts) < length:
        part = connection.recv(length - len(parts))
        if not part:
            os._exit(0)  # killed while it asked
        parts += part
    return marshal.loads(parts), [out_of_the_way(file) for file in files]


def out_of_the_way(file: int) -> int:
    """The open file `file` under a number that no command has for its own."""
    moved = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, OWN_NUMBERS)
    os.close(file)
    return moved


def become(request: dict[str, Any], files: list[int]) -> Callable[[], object]:
    """Give this process the open files, folder, environment and signals of the client; what it is to run."""
    os.setpgid(0, 0)  # whoever ends the command's group must not end this server
    for number, file in zip(request["files"], files, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else usual)
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdout.reconfigure(write_through=unbuffered)  # type: ignore[union-attr]
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    random.seed()
    tempfile.tempdir = None
    multiprocessing.process.ORIGINAL_DIR = os.getcwd()  # type: ignore[attr-defined]  # where its workers look for a program with a relative path
    client = request["client"]
    if os.environ.get("CAPILLARY_TEST_WARM") != "all":
        sys.executable = REAL_PYTHON  # the stage is its own process kind
    multiprocessing.set_executable(sys.executable)
    # the parent that the command is to see is its client's: the launcher, DVC's shell, the test
    os.getppid = lambda: parent_of(client)  # type: ignore[assignment]
    return interpret(request["argv"])


def parent_of(process: int) -> int:
    """The parent of `process`; 1 once that has ended."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 1


def interpret(argv: list[str]) -> Callable[[], object]:
    """Set up `sys` as an interpreter does for [-P] (-m MODULE | -c CODE | FILE) ...; what is then to be run."""
    options = [*itertools.takewhile(lambda word: word in ("-P", "-B"), argv)]
    argv = argv[len(options) :]
    kind, rest = (argv[0], argv[1:]) if argv[0] in ("-m", "-c") else ("file", argv)
    target, arguments = rest[0], rest[1:]
    is_host_side = target.startswith("capillary.") if kind == "-m" else Path(target).name in ("dvc", "capillary")
    own_modules = [name for name in sys.modules if name.partition(".")[0] in OWN]
    for name in [target] if is_host_side else own_modules:
        sys.modules.pop(name, None)
    first = {"-m": os.getcwd(), "-c": "", "file": str(Path(target).resolve().parent)}[kind]
    own = [] if "-P" in options else [first]
    extra = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[:] = [*own, *extra, *BASE_PATH]
    importlib.invalidate_caches()
    if any(Path(folder, "sitecustomize.py").is_file() for folder in extra):  # the guard's, in what a stage starts
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")
    sys.argv[:] = [target if kind == "file" else kind, *arguments]
    if kind == "-m":
        return lambda: runpy.run_module(target, run_name="__main__", alter_sys=True)
    if kind == "-c":
        sys.modules["__main__"] = main_module = types.ModuleType("__main__")
        return lambda: exec(compile(target, "<string>", "exec"), main_module.__dict__)
    return lambda: runpy.run_path(target, run_name="__main__")


def main() -> None:
    """Import, listen, and end as the command that this process has become."""
    address, python, run, ready = sys.argv[1:]
    sys.executable = python  # before anything keeps it: what a command starts is warm, too
    for name in (*PACKAGES, *HOST_SIDE):
        importlib.import_module(name)
    assert_alone()
    logging.getLogger().handlers.clear()  # a library's own idea of logging, which its importer would not have
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(128)
    listener = socket.socket(fileno=out_of_the_way(listener.detach()))
    os.write(int(ready), b"ready")
    os.close(int(ready))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    learning, teaching = map(out_of_the_way, os.pipe())
    known = set(sys.modules)
    with os.fdopen(learning) as lessons:
        command = serve(listener, int(run), lessons, known)
    end(command, lambda: teach(known, teaching))


def end(command: Callable[[], object], report: Callable[[], object]) -> None:
    """Run `command` and end as an interpreter does, without the seconds in which that takes the libraries apart."""
    code: object = 0
    interrupted = False
    try:
        command()
    except SystemExit as asked:
        code = asked.code
    except BaseException as error:  # noqa: BLE001 - what an interpreter does with an uncaught exception
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
        interrupted = isinstance(error, KeyboardInterrupt)
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)  # noqa: T201 - the same for sys.exit("text")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as an interpreter does before atexit
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    report()
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit((code or 0) & 0xFF)


BASE_PATH = sys.path[1:]  # without this file's folder
REAL_PYTHON = sys.executable

if __name__ == "__main__":
    main()
