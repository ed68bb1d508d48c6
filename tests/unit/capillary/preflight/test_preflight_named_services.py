"""Services of an experiment file: real local servers with faults; every fault has words and its own remedy."""

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from capillary.experiments.sections import Sections
from capillary.preflight.services import NamedService, check_named
from stages.common.errors import ParamsError
from stages.common.params import validate_params
from stages.common.preflight.check import Check, Status
from stages.common.preflight.params import ServiceParams
from tests.support.machine import dead_port, http_server

PATIENCE = ServiceParams(critical=True, timeout_s=2, patience_s=0)
KEY = {"header": "api-key", "header_from": "QDRANT_API_KEY"}


class _Faulty(http.server.BaseHTTPRequestHandler):
    """/readyz needs the key, /moved leads away, /busy is an error, everything else is not there."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("api-key")))
        known = self.headers.get("api-key") == "right"
        statuses = {"/readyz": 200 if known else 401, "/moved": 302, "/busy": 503, "/moved/readyz": 200}
        self.send_response_only(statuses.get(self.path, 404))
        self.send_header("Location", "/moved/readyz\x1b")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    _Faulty.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Faulty) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def check(url: str, variables: dict[str, str] | None = None, **fields: Any) -> Check:
    (found,) = check_named([NamedService(name="qdrant", url=url, **fields)], variables or {}, PATIENCE)
    return found


@pytest.mark.parametrize(
    ("fields", "key", "status", "words", "remedy"),
    [
        ({"health": "/readyz", **KEY}, "right", Status.PASS, "answers", ""),
        ({"health": "/readyz"}, "", Status.FAIL, "requires a credential (401)", "`header_from`"),
        ({"health": "/readyz", **KEY}, "wrong", Status.FAIL, "refuses the credential in QDRANT_API_KEY (401)", ".env"),
        ({"health": "/readyz", **KEY}, "", Status.FAIL, "QDRANT_API_KEY is not set", "QDRANT_API_KEY in .env"),
        ({"health": "/readyz", **KEY}, "a\nb: c", Status.FAIL, "cannot be sent in a header", "one line"),
        ({"health": "/health"}, "", Status.FAIL, "has no /health (404)", "`health` of qdrant"),
        ({"health": "/moved", **KEY}, "right", Status.FAIL, "redirects /moved to /moved/readyz", "leads to"),
        ({"health": "/busy"}, "", Status.FAIL, "is not ready (503 on /busy)", "log of qdrant"),
        ({"health": "/busy", "critical": False}, "", Status.WARN, "is not ready", "log of qdrant"),
    ],
)
def test_a_fault_has_words_of_its_own(
    url: str, fields: dict[str, Any], key: str, status: Status, words: str, remedy: str
) -> None:
    """The key is in none of them."""
    found = check(url, {"QDRANT_API_KEY": key}, **fields)
    assert (found.name, found.status) == ("service qdrant", status)
    assert words in found.value
    assert remedy in found.remedy
    assert "\x1b" not in found.value
    assert key in ("", "right", "wrong") or key not in found.value + found.remedy


def test_a_redirect_takes_no_key_to_another_server(url: str) -> None:
    """It is reported, not followed."""
    _Faulty.asked.clear()
    check(url, {"QDRANT_API_KEY": "right"}, health="/moved", **KEY)
    assert _Faulty.asked == [("/moved", "right")]


def test_nobody_answers() -> None:
    """The reason is the system's."""
    found = check(f"http://127.0.0.1:{dead_port()}")
    assert "does not answer (Connection refused)" in found.value
    assert "start qdrant" in found.remedy


def test_a_server_without_tls_is_asked_over_tls(url: str) -> None:
    """The remedy is the address without TLS."""
    found = check(url.replace("http:", "https:"))
    assert "has no valid TLS" in found.value
    assert "write http://" in found.remedy


def test_a_certificate_that_nobody_knows(tmp_path: Path) -> None:
    """The remedy names the variable that requests reads."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-subj", "/CN=127.0.0.1", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *named], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Faulty) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        found = check(f"https://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert "has no valid TLS (self-signed certificate)" in found.value
    assert "REQUESTS_CA_BUNDLE" in found.remedy


def test_all_are_asked_and_keep_their_order() -> None:
    """Each has its own line, in the order of the file."""
    with http_server(200) as good, http_server(204) as other:
        services = [NamedService(name=name, url=url) for name, url in (("a", good), ("b", other), ("c", good))]
        assert [found.name for found in check_named(services, {}, PATIENCE)] == ["service a", "service b", "service c"]
    assert list(check_named([], {}, PATIENCE)) == []


@pytest.mark.parametrize(
    ("services", "words"),
    [
        ([{"name": "a", "url": "localhost:6333"}], "an address such as http://localhost:6333"),
        ([{"name": "a", "url": "http://u:p@localhost"}], "hold no password"),
        ([{"name": "a", "url": "http://localhost/?key=x"}], "an address such as"),
        ([{"name": "a", "url": "http://localhost", "header": "api-key"}], "belong together"),
        ([{"name": "a", "url": "http://localhost", "heath": "/"}], "did you mean `health`"),
        ([{"name": "a", "url": "http://localhost"}] * 2, "two services are called a"),
    ],
)
def test_a_wrong_entry_is_refused_before_anything_is_asked(services: list[dict[str, str]], words: str) -> None:
    with pytest.raises(ParamsError) as refused:
        validate_params(Sections, {"experiment": {"name": "x"}, "services": services}, "x.yaml")
    assert words in refused.value.what
