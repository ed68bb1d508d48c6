"""A TCP proxy in front of a server, which a test closes and opens again: while it is closed, connections are cut."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class FaultProxy:
    """Passes bytes on to `target` (host, port) while `is_open`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target, self.is_open = target, True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Cut what is open, and every connection from now on."""
        self.is_open = False
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Pass on again."""
        self.is_open = True

    def stop(self) -> None:
        """End."""
        self.close()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.is_open:
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._connections |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                sink.sendall(content)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            self._connections.discard(end)


@contextlib.contextmanager
def fault_proxy(host: str, port: int) -> Iterator[FaultProxy]:
    """An open proxy in front of host:port."""
    proxy = FaultProxy((host, port))
    try:
        yield proxy
    finally:
        proxy.stop()
