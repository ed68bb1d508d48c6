"""Tokens are kept as hashes; an open service is protected from web pages; URLs lead only where they may."""

import contextlib
import http.server
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from serving.__main__ import build_service
from serving.access import urls
from serving.access.tokens import EVERYBODY, count_short, hashed, refuse_foreign_pages
from serving.failures import Refusal
from serving.settings import ServeSettings, listed
from serving.uploads import plain_name
from tests.support.parts import REPOSITORY

TOKEN = "a-token-of-sixteen"


def test_a_token_is_nowhere_in_the_value_that_checks_it() -> None:
    tokens = hashed([TOKEN], [])
    assert TOKEN not in repr(tokens)
    assert tokens.owner(f"bearer {TOKEN}") == tokens.owner(f"Bearer {TOKEN}") != EVERYBODY


def test_jobs_of_an_open_service_are_no_token_s() -> None:
    """docs/serve.md says so to whoever sets tokens later: nobody may claim what somebody else sent."""
    assert hashed([], []).owner(None) == EVERYBODY != hashed([TOKEN], []).owner(f"Bearer {TOKEN}")


def test_a_token_that_can_be_guessed_is_counted() -> None:
    """The service says so at its start."""
    assert count_short([TOKEN, "short"]) == 1


def test_a_list_may_have_blanks_and_empty_parts() -> None:
    assert listed(SecretStr(" a, b ,,")) == ("a", "b")


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:8080", None, None),
        ("localhost:8080", "http://localhost:8080", None),
        ("[::1]:8080", None, None),
        ("evil.example:8080", None, 421),
        ("127.0.0.1:8080", "http://evil.example", 403),
        ("127.0.0.1:8080", "http://127.0.0.1:9999", 403),
        ("127.0.0.1:8080", "null", 403),
        (None, None, 421),
        ("[", None, 421),
        ("127.0.0.1:8080", "http://[", 403),
    ],
)
def test_an_open_service_answers_only_its_own_page(host: str | None, origin: str | None, status: int | None) -> None:
    if status is None:
        refuse_foreign_pages(host, origin, is_open=True)
    else:
        with pytest.raises(Refusal) as refused:
            refuse_foreign_pages(host, origin, is_open=True)
        assert refused.value.status == status
    refuse_foreign_pages(host, origin, is_open=False)  # no page knows the token


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd.tif", "passwd.tif"),
        ("C:\\stacks\\a.tif", "a.tif"),
        ("a\r\nX: y.tif", "a__X_ y.tif"),
        ("\u202efit.a.tif", "_fit.a.tif"),
        ("", "stack"),
        ("x" * 300 + ".tif", "x" * 196 + ".tif"),
    ],
)
def test_a_file_name_is_made_plain(given: str, shown: str) -> None:
    assert plain_name(given) == shown


class _Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/stacks/away.tif":
            self.send_response(302)
            self.send_header("Location", "/secret")
            self.end_headers()
            return
        body = b"x" * (5000 if "large" in self.path else 100)
        self.send_response(200)
        if "unsaid" not in self.path:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_a_listed_address_is_fetched(server: str, tmp_path: Path) -> None:
    urls.fetch(f"http://{server}/stacks/a.tif", [f"http://{server}/stacks"], tmp_path / "a", 1000, 10)
    assert (tmp_path / "a").read_bytes() == b"x" * 100


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://{0}/secret", 403),
        ("http://{0}/stacksecret/a.tif", 403),
        ("http://{0}/stacks/../secret", 422),
        ("http://{0}/stacks/%2e%2e/secret", 422),
        ("http://{0}/stacks/..%2fsecret", 422),
        ("http://user:word@{0}/stacks/a.tif", 422),
        ("https://{0}/stacks/a.tif", 403),
        ("file:///etc/passwd", 422),
        ("ftp://{0}/stacks/a.tif", 422),
        ("http://{0}.evil.example/stacks/a.tif", 422),
        ("http://[::1/stacks/a.tif", 422),
        ("http://{0}/stacks/away.tif", 502),
        ("http://{0}/stacks/large.tif", 413),
        ("http://{0}/stacks/large-unsaid.tif", 413),
        ("http://127.0.0.1:1/stacks/a.tif", 403),
    ],
)
def test_nothing_else_is_fetched(server: str, tmp_path: Path, url: str, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        urls.fetch(url.format(server), [f"http://{server}/stacks"], tmp_path / "a", 1000, 10)
    assert refused.value.status == status, refused.value.what
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["localhost", "2130706433", "127.1", "0x7f.0.0.1"])
def test_a_name_that_leads_into_a_private_network_is_refused(server: str, tmp_path: Path, name: str) -> None:
    """A number that is not an address as people write one counts as a name."""
    port = server.rpartition(":")[2]
    with pytest.raises(Refusal, match="private network"):
        urls.fetch(f"http://{name}:{port}/a.tif", [f"http://{name}:{port}/"], tmp_path / "a", 1000, 10)


def test_a_dead_server_is_said(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="could not be fetched"):
        urls.fetch("http://127.0.0.1:1/a.tif", ["http://127.0.0.1:1"], tmp_path / "a", 1000, 10)


def test_every_setting_of_the_service_reaches_its_container() -> None:
    """Compose hands .env to the service by these lines alone: the container has no .env of its own."""
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    names = {str(field.validation_alias) for field in ServeSettings.model_fields.values()}
    by_image = {"SERVE_HOST", "SERVE_PORT", "CAPILLARY_SERVE_FOLDER"}
    assert names - by_image <= compose["services"]["serve"]["environment"].keys()


@pytest.mark.parametrize("name", ["ecs", "kubernetes"])
def test_a_template_sets_nothing_that_the_service_does_not_read(name: str) -> None:
    text = (REPOSITORY / "deploy" / name / "serve.yaml").read_text()
    known = {str(field.validation_alias) for field in ServeSettings.model_fields.values()}
    assert set(re.findall(r"CAPILLARY_\w+", text)) - known == set()


def test_a_worker_gets_the_threads_that_the_service_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with a limit on its CPUs sees every core of the machine, and would start a thread on each."""
    given: dict[str, str] = {}
    monkeypatch.setattr("serving.__main__.Models", lambda _reference, environment, _figures: given.update(environment))
    settings = ServeSettings(_env_file=None, threads=3, folder=tmp_path)  # type: ignore[call-arg]
    build_service(settings)
    assert given["CAPILLARY_THREADS"] == "3"


def test_an_open_service_with_an_admin_token_asks_for_it() -> None:
    tokens = hashed((), ("an-admin-token-of-a-test",))
    assert tokens.owner(None) == EVERYBODY
    for header, status in ((None, 401), ("Bearer another-token-of-a-test", 403)):
        with pytest.raises(Refusal) as refused:
            tokens.refuse_unless_admin(header)
        assert refused.value.status == status
    tokens.refuse_unless_admin("Bearer an-admin-token-of-a-test")


def test_a_server_that_sends_a_byte_now_and_then_is_left(tmp_path: Path) -> None:
    """It would hold one of the few threads that write uploads."""

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.1)

    server = http.server.HTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    began = time.monotonic()
    with pytest.raises(Refusal, match="too slow"):
        urls.fetch(url, [url], tmp_path / "stack", 1000, 0.5)
    assert time.monotonic() - began < 5
    server.shutdown()
