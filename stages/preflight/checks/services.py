"""The servers that a run talks to: which they are, and whether each answers as what it is taken for."""

import email.utils
import enum
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests

from stages.preflight.check import Check, missed, passed, warned
from stages.preflight.params import ServiceParams

MLFLOW_QUESTION = "/api/2.0/mlflow/experiments/search?max_results=1"
S3_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL")
POSTGRES_PORT = 5432
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's protocol, SSLRequest: answered with S or N
PAUSE_S = 0.5
_REFUSED = (401, 403)


class Kind(enum.StrEnum):
    """How a server is asked."""

    MLFLOW = "mlflow"
    S3 = "s3"
    HTTP = "http"
    POSTGRES = "postgresql"
    TCP = "tcp"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A server to ask. `url` may hold credentials: show `place`."""

    kind: Kind
    url: str

    @property
    def place(self) -> str:
        """scheme://host:port, without user and password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme.split('+')[0]}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    @property
    def check_name(self) -> str:
        """As the report calls it."""
        return str(self.kind) if self.kind in (Kind.MLFLOW, Kind.S3) else f"service {urlsplit(self.url).hostname}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said. `fault` is empty when it answered as it should; `status` is HTTP's.

    `ahead_s` is by how much the server's clock is ahead of this one; None where it tells no time.
    """

    service: Service
    fault: str
    status: int | None = None
    ahead_s: float | None = None
    had_credentials: bool = False

    @property
    def asks_for_login(self) -> bool:
        """It wants credentials, and none were sent."""
        return self.status == 401 and not self.had_credentials


def services_of(variables: Mapping[str, str], listed: Sequence[str]) -> list[Service]:
    """The servers that `variables` lead to, and the `listed` URLs; each once."""
    found = [*_tracking(variables.get("MLFLOW_TRACKING_URI", ""))]
    found += [Service(kind=Kind.S3, url=variables[name]) for name in S3_VARIABLES if name in variables]
    found += [Service(kind=_kind_of(url), url=url) for url in listed]
    return list({(service.kind, service.url): service for service in found}.values())


def ask_all(services: Sequence[Service], variables: Mapping[str, str], params: ServiceParams) -> list[Answer]:
    """The answer of each, asked side by side; one that does not answer is asked again while patience lasts."""
    if not services:
        return []
    with ThreadPoolExecutor(max_workers=len(services)) as pool:
        return list(pool.map(lambda service: _ask_patiently(service, variables, params), services))


def check_services(answers: Iterable[Answer], *, critical: bool) -> Iterator[Check]:
    """One check a server."""
    for answer in answers:
        service, name = answer.service, answer.service.check_name
        if answer.fault:
            value = f"{service.place} {answer.fault}"
            yield missed(name, value, "answers as it should", _remedy(answer), critical=critical)
        elif answer.asks_for_login:
            yield warned(name, f"{service.place} asks for a login", "takes this one", _remedy(answer))
        else:
            yield passed(name, f"{service.place} answers", "answers as it should", critical=critical)


def _tracking(uri: str) -> Iterator[Service]:
    scheme = urlsplit(uri).scheme
    if scheme in ("http", "https"):
        yield Service(kind=Kind.MLFLOW, url=uri)
    elif scheme.split("+")[0] in ("postgresql", "postgres"):
        yield Service(kind=Kind.POSTGRES, url=uri)


def _kind_of(url: str) -> Kind:
    scheme = urlsplit(url).scheme
    return Kind.HTTP if scheme in ("http", "https") else Kind(scheme)


def _ask_patiently(service: Service, variables: Mapping[str, str], params: ServiceParams) -> Answer:
    deadline = time.monotonic() + params.patience_s
    while True:
        answer = _ask(service, variables, params.timeout_s)
        refused = answer.status is not None and answer.status < 500  # asking again changes nothing
        if not answer.fault or refused or time.monotonic() + PAUSE_S > deadline:
            return answer
        time.sleep(PAUSE_S)


def _ask(service: Service, variables: Mapping[str, str], timeout_s: float) -> Answer:
    if service.kind in (Kind.POSTGRES, Kind.TCP):
        return _ask_tcp(service, timeout_s)
    return _ask_http(service, variables, timeout_s)


def _ask_http(service: Service, variables: Mapping[str, str], timeout_s: float) -> Answer:
    is_mlflow = service.kind is Kind.MLFLOW
    url = service.url.rstrip("/") + MLFLOW_QUESTION if is_mlflow else service.url
    login = mlflow_login(variables) if is_mlflow else {}
    started = time.time()
    try:
        with requests.get(url, headers=login, timeout=timeout_s, stream=True, verify=_verify(variables)) as response:
            status, date = response.status_code, response.headers.get("Date")
    except requests.RequestException as error:
        return Answer(service=service, fault=f"does not answer ({_reason(error)})")
    had = bool(login) or urlsplit(service.url).username is not None
    return Answer(
        service=service,
        fault=_http_fault(service.kind, status, had_credentials=had),
        status=status,
        ahead_s=_ahead_s(date, (started + time.time()) / 2),
        had_credentials=had,
    )


def _http_fault(kind: Kind, status: int, *, had_credentials: bool) -> str:
    if status >= 500:
        return f"answers with an error ({status})"
    if kind is not Kind.MLFLOW:
        return ""  # an object store refuses who does not sign, which is an answer
    if status in _REFUSED:
        return f"refuses these credentials ({status})" if had_credentials or status == 403 else ""
    return "" if status == 200 else f"is no MLflow server ({status})"


def mlflow_login(variables: Mapping[str, str]) -> dict[str, str]:
    """The header that MLflow's client would send."""
    name, password = variables.get("MLFLOW_TRACKING_USERNAME"), variables.get("MLFLOW_TRACKING_PASSWORD")
    if name and password:
        request = requests.auth.HTTPBasicAuth(name, password)(requests.Request("GET", "http://x").prepare())
        return {"Authorization": str(request.headers["Authorization"])}
    token = variables.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _verify(variables: Mapping[str, str]) -> bool | str:
    if variables.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true":
        return False
    return variables.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True


def _ask_tcp(service: Service, timeout_s: float) -> Answer:
    parts = urlsplit(service.url)
    address = (parts.hostname or "", parts.port or POSTGRES_PORT)
    try:
        with socket.create_connection(address, timeout=timeout_s) as connection:
            if service.kind is Kind.TCP:
                return Answer(service=service, fault="")
            connection.sendall(_SSL_REQUEST)
            is_postgres = connection.recv(1) in (b"S", b"N")
    except OSError as error:
        return Answer(service=service, fault=f"does not answer ({error.strerror or error})")
    return Answer(service=service, fault="" if is_postgres else "is no PostgreSQL server")


def _ahead_s(date: str | None, now_s: float) -> float | None:
    try:
        told = email.utils.parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp() - datetime.fromtimestamp(
        now_s, UTC
    ).timestamp()


def _reason(error: requests.RequestException) -> str:
    """The innermost cause, without the URL, which may hold a password."""
    inner: BaseException = error
    while (cause := inner.__cause__ or inner.__context__) is not None:
        inner = cause
    return str(getattr(inner, "strerror", None) or type(inner).__name__)


def _remedy(answer: Answer) -> str:
    if answer.service.kind is Kind.MLFLOW:
        if answer.status in _REFUSED:
            return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in .env (see .env.example)"
        return "start it (docker compose up -d --wait), correct MLFLOW_TRACKING_URI, or unset it for the embedded store"
    if answer.service.kind is Kind.S3:
        return "start the object store, or correct its address ([SOURCE_ or ARTIFACTS_]AWS_ENDPOINT_URL)"
    return "start it, or remove its URL from `services` in configs/preflight.yaml"
