"""The client, which stands in for an interpreter: hands arguments, environment, folder and open files to the server.

It starts with -I -S, takes milliseconds, and ends as the command ended. SOCKET and PYTHON are filled in by commands.py.
"""

import fcntl
import marshal
import os
import signal
import socket
import sys

SOCKET = "@SOCKET@"
PYTHON = "@PYTHON@"
NUMBER_BYTES = 8
UNDERSTOOD = ("-P", "-B", "-m", "-c")
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run `sys.argv[1:]` as an interpreter would."""
    argv = sys.argv[1:]
    first = next((word for word in argv if word not in ("-P", "-B")), "-")
    if first.startswith("-") and first not in UNDERSTOOD:
        os.execv(PYTHON, [PYTHON, *argv])  # isolated helpers and anything unusual: a real interpreter
    ignored = [int(number) for number in FORWARDED if signal.getsignal(number) == signal.SIG_IGN]
    files = inherited()
    umask = os.umask(0)
    os.umask(umask)
    request = {"argv": argv, "environment": dict(os.environ), "folder": os.getcwd(), "umask": umask, "files": files}
    status = ask({**request, "client": os.getpid(), "ignored": ignored})
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def inherited() -> list[int]:
    """Open files that a program started here would have: its standard streams, and pipes to whoever started it."""
    numbers = []
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if not fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                numbers.append(number)
        except OSError:
            pass  # the listing's own
    return sorted(numbers)


def ask(request: dict) -> int:  # type: ignore[type-arg]  # importing typing would take longer than the rest
    """Send the request, pass signals on to the command, return its wait status."""
    message = marshal.dumps(request)
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(SOCKET)
        socket.send_fds(server, [len(message).to_bytes(NUMBER_BYTES, "big")], request["files"])
        server.sendall(message)
        command = receive(server)
        for number in FORWARDED:
            if number not in request["ignored"]:
                signal.signal(number, lambda got, _frame: os.kill(command, got))
        for number in request["files"]:
            os.close(number)  # whoever waits for the other end of a pipe waits for the command alone
        return receive(server)


def receive(server: socket.socket) -> int:
    """One number of the server's."""
    parts = b""
    while len(parts) < NUMBER_BYTES:
        part = server.recv(NUMBER_BYTES - len(parts))
        if not part:
            os._exit(70)  # the server ended before its command did
        parts += part
    return int.from_bytes(parts, "big")


main()
