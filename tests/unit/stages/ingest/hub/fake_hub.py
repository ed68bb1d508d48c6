"""A small Hugging Face Hub: one data set with commits, over HTTP on this machine."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

REPO = "janedoe/vessels"
TOKEN = "hf_secret"
LARGE = 1000  # files from so many bytes are handed out by another server, as the real one does
PAGE = 3


class FakeHub:
    """`commits` are the files of each commit by path, `branches` the commits of each branch.

    `asked` are the paths of all requests, `tokens` what the second server, which hands out large files, was sent.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, str] = {}
        self.needs_token = False
        self.error_code = ""  # X-Error-Code of every answer
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        self.extra_entries: list[dict[str, object]] = []
        self.broken = 0  # how many downloads end in the middle
        self.spoiled: set[str] = set()  # files that come with other bytes
        self.next_host = ""  # where the list is said to continue
        self.endpoint = self.store = ""

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """A new commit on `branch`; returns its hash."""
        name = hashlib.sha1(repr((sorted(files.items()), len(self.commits))).encode()).hexdigest()
        self.commits[name] = dict(files)
        self.branches[branch] = name
        return name

    def entries(self, commit: str, folder: str) -> list[dict[str, object]]:
        """The list of files, as the API words it."""
        above = f"{folder}/" if folder else ""
        files = [_entry(path, data) for path, data in self.commits[commit].items() if path.startswith(above)]
        return [{"type": "directory", "path": f"{above}x", "oid": "0" * 40, "size": 0}, *files, *self.extra_entries]


def _entry(path: str, data: bytes) -> dict[str, object]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": blob}
    if len(data) >= LARGE:
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    is_store: bool

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.hub.asked.append(unquote(url.path))
        if self.is_store:
            self.hub.tokens.append(self.headers["Authorization"])
            return self._file(*unquote(url.path).removeprefix("/").split("/", 1))
        if self.hub.error_code:
            return self._answer(403, b"", {"X-Error-Code": self.hub.error_code})
        if self.hub.needs_token and self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        return self._route(unquote(url.path), parse_qs(url.query))

    def _route(self, path: str, query: dict[str, list[str]]) -> None:
        api, files = f"/api/datasets/{REPO}/", f"/datasets/{REPO}/resolve/"
        if path.startswith(f"{api}revision/"):
            revision = path.removeprefix(f"{api}revision/")
            commit = self.hub.branches.get(revision, revision)
            if commit not in self.hub.commits:
                return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return self._answer(200, json.dumps({"sha": commit, "id": REPO}).encode())
        if path.startswith(f"{api}tree/"):
            commit, _, folder = path.removeprefix(f"{api}tree/").partition("/")
            return self._tree(self.hub.entries(commit, folder), int(query.get("cursor", ["0"])[0]))
        if path.startswith(files):
            commit, _, name = path.removeprefix(files).partition("/")
            if len(self.hub.commits[commit][name]) >= LARGE:
                return self._answer(302, b"", {"Location": f"{self.hub.store}/{commit}/{name}"})
            return self._file(commit, name)
        return self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _tree(self, entries: list[dict[str, object]], first: int) -> None:
        if len(entries) == 1:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        more = {}
        if first + PAGE < len(entries):
            url = f"{self.hub.next_host or self.hub.endpoint}{urlsplit(self.path).path}?cursor={first + PAGE}"
            more = {"Link": f'<{url}>; rel="next"'}
        return self._answer(200, json.dumps(entries[first : first + PAGE]).encode(), more)

    def _file(self, commit: str, name: str) -> None:
        data = self.hub.commits[commit][name]
        if name in self.hub.spoiled:
            data = bytes(len(data))
        have = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        status, rest = (206, data[have:]) if have else (200, data)
        if not self.hub.broken:
            return self._answer(status, rest)
        self.hub.broken -= 1
        self._head(status, {"Content-Length": str(len(rest))})
        self.wfile.write(rest[: len(rest) // 2])
        self.close_connection = True
        return None

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, {"Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextlib.contextmanager
def serving() -> Iterator[FakeHub]:
    """A hub and the server that it redirects to, both on this machine."""
    hub = FakeHub()
    kinds = [type("Handler", (_Handler,), {"hub": hub, "is_store": is_store}) for is_store in (False, True)]
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in kinds]
    threads = [Thread(target=server.serve_forever, args=(0.01,), daemon=True) for server in servers]
    hub.endpoint, hub.store = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
