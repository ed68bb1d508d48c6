"""Logins that a test recognises wherever they turn up: in files, in command lines, in what a daemon shows."""

import base64
import contextlib
import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

USER = "alice"
NAMES = (
    "MLFLOW_TRACKING_PASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "SOURCE_AWS_SECRET_ACCESS_KEY",
    "ARTIFACTS_AWS_SECRET_ACCESS_KEY",
    "REMOTE_AWS_SECRET_ACCESS_KEY",
    "SOURCE_HF_TOKEN",
    "DAGSHUB_USER_TOKEN",
)
# not literally in this file, which each clone has; with signs that addresses escape
SECRETS = {name: f"dhp+{hashlib.sha256(name.encode()).hexdigest()[:24]}/x" for name in NAMES}
LOGIN = {"MLFLOW_TRACKING_USERNAME": USER, **SECRETS}
LOOK_EVERY_S = 0.5


def shown_in(content: bytes, secrets: Mapping[str, str] = SECRETS) -> list[str]:
    """The variables whose value is in `content`, as it is, escaped, or in the header of a login."""
    return [name for name, value in secrets.items() if any(form in content for form in _forms(value))]


def _forms(value: str) -> Iterator[bytes]:
    yield value.encode()
    yield quote(value, safe="").encode()
    yield base64.b64encode(f"{USER}:{value}".encode())


def leaks_in(*folders: Path, but: Iterable[str] = (".env",)) -> list[tuple[str, list[str]]]:
    """(file, variables) of each file below `folders` whose path or content has a secret, but for the names in `but`."""
    files = (path for folder in folders for path in folder.rglob("*") if path.name not in but)
    found = ((str(file), shown_in(str(file).encode() + _content(file))) for file in files)
    return [(file, names) for file, names in found if names]


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() and not file.is_symlink() else b""


@contextlib.contextmanager
def watching_command_lines() -> Iterator[set[str]]:
    """Within the block, the command lines with a secret of all processes of this machine are noted."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for file in Path("/proc").glob("[0-9]*/cmdline"):  # psutil takes ten times as long
                with contextlib.suppress(OSError):
                    line = file.read_bytes()
                    if shown_in(line):
                        seen.add(line.replace(b"\0", b" ").decode(errors="replace"))
            time.sleep(LOOK_EVERY_S)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
