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
import importlib.machinery
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
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
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
    "capillary.launcher.run",
    "capillary.dvc.command",
    "capillary.executors.container.execute",
)


@dataclass(frozen=True)
class Command:
    """A command that runs: its process, a file that is readable once that has ended, and where its client waits."""

    child: int
    ended: int
    connection: socket.socket

    @property
    def files(self) -> tuple[int, int]:
        """To which something happens when it or its client ends."""
        return self.ended, self.connection.fileno()

    def close(self) -> None:
        """What this process holds of it."""
        os.close(self.ended)
        self.connection.close()


@dataclass
class Known:
    """The modules that every command has from the start."""

    names: set[str] = field(default_factory=set)
    own: list[str] = field(default_factory=list)  # those of them that are the tool's
    last: str = ""

    def look(self) -> None:
        """Note what this process has imported, and get it ready to be forked."""
        self.names = set(sys.modules)
        self.own = [name for name in sys.modules if name.partition(".")[0] in OWN]
        assert len(os.listdir("/proc/self/task")) == 1, "a library started a thread when it was imported"
        for each in list(weakref.finalize._registry):  # type: ignore[attr-defined]
            each.atexit = False  # no command takes the libraries apart
        gc.freeze()


def serve(listener: socket.socket, run: int, lessons: IO[str], known: Known) -> Callable[[], object]:
    """Answer until the test run has ended; returns in children only, what each is to run."""
    end = out_of_the_way(os.pidfd_open(run))
    running: list[Command] = []
    while end not in (ready := wait(listener.fileno(), lessons.fileno(), end, running)):
        if lessons.fileno() in ready:
            learn(lessons, known)
        for command in [one for one in running if not ready.isdisjoint(one.files)]:
            finish(command)
            running.remove(command)
        if listener.fileno() not in ready:
            continue
        accepted = listener.accept()[0]
        connection = socket.socket(fileno=out_of_the_way(accepted.detach()))
        if child := os.fork():
            running.append(Command(child, out_of_the_way(os.pidfd_open(child)), connection))
            continue
        for each in running:
            each.close()
        listener.close()
        os.close(end)
        return become(connection, known)
    folder = Path(listener.getsockname()).parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".lock").unlink(missing_ok=True)
    os._exit(0)


def wait(listener: int, lessons: int, end: int, running: list[Command]) -> set[int]:
    """The files to which something happened, once there are any: of `running`, an end or a client that has gone."""
    poll = select.poll()
    for file in (listener, lessons, end, *(command.ended for command in running)):
        poll.register(file, select.POLLIN)
    for command in running:
        poll.register(command.connection, 0)  # its request is for the command to read
    return {file for file, _ in poll.poll()}


def finish(command: Command) -> None:
    """Report its end. If it goes on, its client was killed: nobody waits for it any more."""
    if not select.select([command.ended], [], [], 0)[0]:
        os.kill(command.child, signal.SIGKILL)
    _, status = os.waitpid(command.child, 0)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        command.connection.sendall(status.to_bytes(NUMBER_BYTES, "big"))
    command.close()


def learn(lessons: IO[str], known: Known) -> None:
    """Import what a command had to import by itself, for those that come after it."""
    for name in lessons.readline().split():
        with contextlib.suppress(ImportError):  # a name that an extension module made for itself
            importlib.import_module(name)
    known.look()


def teach(known: Known, lessons: int) -> None:
    """Tell the server which modules it did not know, one line of at most what a pipe takes as a whole.

    They are installed ones, and a stage's if it has those that the server found.
    """
    packages = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    if known.own:
        packages.append(str(Path(str(sys.modules["stages"].__file__)).parent))
    new = [
        name
        for name in itertools.takewhile(lambda name: name != known.last, reversed(sys.modules))
        if name not in known.names
        and not name.endswith("__main__")
        and str(getattr(sys.modules[name], "__file__", "")).startswith(tuple(packages))
    ]
    line = f"{' '.join(new)}"[: select.PIPE_BUF - 1].rpartition(" ")[0]
    if line:
        os.write(lessons, f"{line}\n".encode())


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


def become(connection: socket.socket, known: Known) -> Callable[[], object]:
    """Give this process the open files, folder, environment and signals of the client; what it is to run."""
    request, files = receive(connection)
    if not request:
        os._exit(0)  # somebody asked whether this server answers
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
    with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):  # killed while it asked
        connection.sendall(os.getpid().to_bytes(NUMBER_BYTES, "big"))
    return interpret(request["argv"], known)


def parent_of(process: int) -> int:
    """The parent of `process`; 1 once that has ended."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 1


def interpret(argv: list[str], known: Known) -> Callable[[], object]:
    """Set up `sys` as an interpreter does for [-P] (-m MODULE | -c CODE | FILE) ...; what is then to be run."""
    options = [*itertools.takewhile(lambda word: word in ("-P", "-B"), argv)]
    argv = argv[len(options) :]
    kind, rest = (argv[0], argv[1:]) if argv[0] in ("-m", "-c") else ("file", argv)
    target, arguments = rest[0], rest[1:]
    is_host_side = target.startswith("capillary.") if kind == "-m" else Path(target).name in ("dvc", "capillary")
    first = {"-m": os.getcwd(), "-c": "", "file": str(Path(target).resolve().parent)}[kind]
    own = [] if "-P" in options else [first]
    extra = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[:] = [*own, *extra, *BASE_PATH]
    importlib.invalidate_caches()
    if not is_host_side and not finds_known_code():
        for name in known.own:
            del sys.modules[name]
        known.own.clear()
        for name in OWN:
            logging.getLogger(name).handlers.clear()  # of modules that are gone: the new ones print, too
    if target in sys.modules and not hasattr(sys.modules[target], "__path__"):
        del sys.modules[target]  # it is run anew; of a package, that is its __main__
    known.last = next(reversed(sys.modules))  # to look at all of them would copy much of the server's memory
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


def finds_known_code() -> bool:
    """Whether a program that imports the tool's code here gets the files that this server has imported."""
    found = map(importlib.machinery.PathFinder.find_spec, OWN)
    return all(spec and spec.origin == sys.modules[spec.name].__file__ for spec in found)


def main() -> None:
    """Import, listen, and end as the command that this process has become."""
    address, python, run, ready = sys.argv[1:]
    sys.executable = python  # before anything keeps it: what a command starts is warm, too
    for name in (*PACKAGES, *HOST_SIDE):
        importlib.import_module(name)
    stores, databases = map(importlib.import_module, ("new_stores", "mlflow.store.db.utils"))
    stores.copy_tables(databases)
    importlib.import_module("dvc.cli.parser").get_main_parser()  # which DVC keeps
    atexit.unregister(importlib.import_module("torch._dynamo.utils").dump_compile_times)  # of which there are none
    logging.getLogger().handlers.clear()  # a library's own idea of logging, which its importer would not have
    gc.collect()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(128)
    listener = socket.socket(fileno=out_of_the_way(listener.detach()))
    os.write(int(ready), b"ready")
    os.close(int(ready))
    learning, teaching = map(out_of_the_way, os.pipe())
    known = Known()
    known.look()
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
