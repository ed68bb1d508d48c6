"""Events on their way: to the end of a file, or to a server such as Marquez."""

import os
from pathlib import Path
from typing import Any, Protocol

from openlineage.client.serde import Serde
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport

FILE = "file:"
HTTP_TIMEOUT_S = 1.5


class Sink(Protocol):
    """Where events go."""

    def emit(self, event: Any) -> Any:
        """Send one; raises whatever goes wrong."""


class LinesInFile:
    """A line of JSON for each event. Cells that run at once write whole lines: each is one append."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def emit(self, event: Any) -> None:
        """Append it."""
        line = (Serde.to_json(event) + "\n").encode()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(number, line)
        finally:
            os.close(number)


def sink_of(address: str, key: str, root: Path) -> Sink:
    """What CAPILLARY_LINEAGE says; a relative path is taken from `root`. `key` is a server's, empty for none."""
    if address.startswith(FILE):
        return LinesInFile(root / address.removeprefix(FILE))
    options: dict[str, Any] = {"auth": ApiKeyTokenProvider({"api_key": key})} if key else {}
    config = HttpConfig(url=address, timeout=HTTP_TIMEOUT_S, retry={"total": 0}, **options)
    sink: Sink = HttpTransport(config)
    return sink
