"""What a hostile or mistaken client sends gets its status code and words; nothing of it is kept."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.unit.serving.conftest import TOKEN, Running, starting

TYPE = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with starting(tmp_path_factory.mktemp("service")) as begin:
        yield begin(upload_mb=0.05, idle_s=0.3)


@pytest.fixture
def running(shared: Running) -> Iterator[Running]:
    """A service that kept nothing of what the test sent."""
    yield shared
    assert list((shared.settings.folder / "incoming").iterdir()) == []
    assert shared.client.get("/v1/jobs").json() == {"jobs": []}


def _part(name: str, content: str, more: str = "") -> str:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{content}\r\n'


STACK = _part("stack", "plain", '; filename="a.tif"')
BODIES = {
    "no stack": (_part("spacing_um", "1,1,1") + "--b--", TYPE, 422, "there is no stack"),
    "empty stack": (_part("stack", "", '; filename="a.tif"') + "--b--", TYPE, 422, "empty"),
    "two stacks": (STACK + STACK + "--b--", TYPE, 422, "twice"),
    "unknown field": (STACK + _part("model", "x/1") + "--b--", TYPE, 422, "no field `model`"),
    "no boundary": (STACK, "multipart/form-data", 415, "not multipart"),
    "long boundary": (STACK, TYPE + "b" * 500, 400, "Boundary length"),
    "json": ("{}", "application/json", 415, "not multipart"),
    "cut off": (STACK, TYPE, 400, "last boundary"),
    "no multipart at all": ("hello", TYPE, 400, "cannot be read"),
    "program": (_part("stack", "x", '; filename="a.exe"') + "--b--", TYPE, 415, "not that of a stack"),
    "no archive": (_part("stack", "x", '; filename="a.zip"') + "--b--", TYPE, 422, "a.zip cannot be unpacked"),
    "other archive": (_part("stack", "x", '; filename="a.7z"') + "--b--", TYPE, 415, "not that of a stack"),
    "zarr as a file": (_part("stack", "x", '; filename="a.ome.zarr"') + "--b--", TYPE, 415, "is a folder"),
    "bare mhd": (_part("stack", "x", '; filename="a.mhd"') + "--b--", TYPE, 415, "voxels in another file"),
    "bare nhdr": (_part("stack", "x", '; filename="a.NHDR"') + "--b--", TYPE, 415, "voxels in another file"),
    "array of a tiff": (STACK + _part("dataset", "/raw") + "--b--", TYPE, 422, "not an HDF5 file"),
    "odd array": (_part("stack", "x", '; filename="a.h5"') + _part("dataset", "a\0b") + "--b--", TYPE, 422, "dataset"),
    "no name": (_part("stack", "x") + "--b--", TYPE, 415, "not that of a stack"),
    "two spacings": (STACK + _part("spacing_um", "1,1") + "--b--", TYPE, 422, "three lengths"),
    "zero spacing": (STACK + _part("spacing_um", "0,1,1") + "--b--", TYPE, 422, "three lengths"),
    "spacing of words": (STACK + _part("spacing_um", "a,b,c") + "--b--", TYPE, 422, "three lengths"),
    "infinite spacing": (STACK + _part("spacing_um", "inf,1,1") + "--b--", TYPE, 422, "three lengths"),
    "unknown format": (STACK + _part("format", ".exe") + "--b--", TYPE, 422, "no format"),
    "odd switch": (STACK + _part("picture", "maybe") + "--b--", TYPE, 422, "neither yes nor no"),
    "long field": (STACK + _part("spacing_um", "1" * 5000) + "--b--", TYPE, 413, "too long"),
    "long header": (_part("stack", "x", f'; filename="{"a" * 9000}.tif"') + "--b--", TYPE, 400, "Maximum header size"),
    "large": (_part("stack", "x" * 60_000, '; filename="a.tif"') + "--b--", TYPE, 413, "larger than 50,000 bytes"),
    "stack and url": (STACK + _part("url", "http://a/b.tif") + "--b--", TYPE, 422, "a stack and a URL"),
    "unlisted url": (_part("url", "http://169.254.169.254/a.tif") + "--b--", TYPE, 403, "may not be fetched"),
}


@pytest.mark.parametrize(("body", "kind", "status", "words"), BODIES.values(), ids=BODIES)
def test_bodies(running: Running, body: str, kind: str, status: int, words: str) -> None:
    answer = running.client.post("/v1/jobs", content=body.encode(), headers={"Content-Type": kind})
    assert (answer.status_code, words in answer.json()["error"]["what"]) == (status, True), answer.text
    assert answer.json()["error"]["remedy"]


def test_a_declared_size_is_judged_before_anything_is_read(running: Running) -> None:
    """The body never comes, and the answer does not wait for it."""
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {TYPE}\r\n"
    assert _raw(running, f"{head}Content-Length: 99999999999\r\n\r\n").startswith("HTTP/1.1 413")


def test_a_body_without_end_is_cut_at_the_limit(running: Running) -> None:
    def chunks() -> Iterator[bytes]:
        yield STACK.removesuffix("plain\r\n").encode()
        for _ in range(100):
            yield b"x" * 1000

    answer = running.client.post("/v1/jobs", content=chunks(), headers={"Content-Type": TYPE})
    assert answer.status_code == 413


def test_a_body_that_stops_coming_is_ended(running: Running) -> None:
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {TYPE}\r\n"
    assert _raw(running, f"{head}Content-Length: 1000\r\n\r\n--b\r\n").startswith("HTTP/1.1 408")


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: -5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: five",
        "Transfer-Encoding: gzip",
        "X: " + "x" * 100_000,
        "X y: z",
    ],
    ids=["negative", "two lengths", "a word", "unknown coding", "long", "blank in a name"],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(running: Running, lines: str) -> None:
    """So no proxy in front sees another request than the service."""
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {TYPE}\r\n{lines}\r\n\r\n"
    )
    status = int(_raw(running, head).split()[1])
    assert status in (400, 431, 501)


def test_a_body_that_drips_is_ended(running: Running) -> None:
    """A byte now and then keeps no place."""
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {TYPE}\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n{STACK}".removesuffix("\r\n").encode())
        connection.settimeout(0.05)
        answer = b""
        while not answer:
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(100)
    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ,", "Basic Zm9v", "Bearer wrong-token-of-somebody", "Bearer " + "x" * 9000]
)
@pytest.mark.parametrize("path", ["/v1/jobs", f"/v1/jobs/{'0' * 32}", "/v1/models", "/v2/models/vessels"])
def test_without_a_token_there_is_nothing(running: Running, header: str, path: str) -> None:
    answer = running.client.get(path, headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("job", ["..%2f..%2fetc", "x", "0" * 32, "%00", "a" * 5000])
def test_an_id_is_no_path(running: Running, job: str) -> None:
    assert running.client.get(f"/v1/jobs/{job}").status_code == 404
    assert running.client.get(f"/v1/jobs/{job}/mask").status_code == 404


def test_answers_say_how_a_browser_may_use_them(running: Running) -> None:
    headers = running.client.get("/healthz").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "server" not in headers


def _raw(running: Running, request: str) -> str:
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(request.encode())
        return connection.recv(4096).decode()


def test_prometheus_reads_the_figures_of_an_open_service_by_its_name(start: Callable[..., Running]) -> None:
    """services/monitoring/prometheus.yml asks serve:8080, and by default the service has no tokens."""
    running = start(tokens=())
    for path, status in (("/metrics", 200), ("/v1/jobs", 421)):
        assert httpx.get(running.url + path, headers={"Host": "serve:8080"}, trust_env=False).status_code == status
