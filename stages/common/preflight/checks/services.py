"""The servers that a run talks to: which ones, and whether each answers as the kind of server it should be."""

import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from stages.common.errors import CapillaryError
from stages.common.preflight.check import Check, missed, passed, warned
from stages.common.preflight.checks import http_requests
from stages.common.preflight.checks.http_requests import Failure
from stages.common.preflight.checks.mlflow_server import LOGIN, ask_mlflow
from stages.common.preflight.checks.service import REFUSED, Answer, Kind, Service
from stages.common.preflight.params import ServiceParams
from stages.common.runtime import TrackingMode
from stages.common.tracking.address import EMBEDDED, VARIABLE, StoreKind, read_address

RUNS_STORE = "MLFLOW_S3_ENDPOINT_URL"
S3_VARIABLES = (RUNS_STORE, "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
POSTGRES_PORT = 5432
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's protocol, SSLRequest: answered with S or N
PAUSE_S = 0.5


def services_of(variables: Mapping[str, str], listed: Sequence[str]) -> list[Service]:
    """The servers that `variables` lead to, and the `listed` URLs; each once."""
    found = [*_tracking(variables.get(VARIABLE, EMBEDDED))]
    found += [
        Service(kind=Kind.S3, url=variables[name], tracks_runs=name == RUNS_STORE)
        for name in S3_VARIABLES
        if name in variables
    ]
    found += [Service(kind=_kind_of(url), url=url) for url in listed]
    return list({(service.kind, service.url): service for service in found}.values())


def to_be_asked(services: Iterable[Service], tracking: TrackingMode) -> list[Service]:
    """Those that a run talks to: offline, none that tracks runs."""
    return [service for service in services if tracking != "offline" or not service.tracks_runs]


def ask_all(services: Sequence[Service], variables: Mapping[str, str], params: ServiceParams) -> list[Answer]:
    """The answer of each, asked side by side; one that does not answer is asked again while patience lasts."""
    if not services:
        return []
    with ThreadPoolExecutor(max_workers=len(services)) as pool:
        return list(pool.map(lambda service: _ask_patiently(service, variables, params), services))


def check_services(answers: Iterable[Answer], *, critical: bool, tracking: TrackingMode) -> Iterator[Check]:
    """One check a server. A server that tracks runs stops a run where `tracking` is required, and only there."""
    for answer in answers:
        service, name = answer.service, answer.service.check_name
        stops = tracking == "required" if service.tracks_runs else critical
        if answer.fault:
            value = f"{service.place} {answer.fault}"
            yield missed(name, value, "answers as it should", _remedy(answer), critical=stops)
        elif answer.asks_for_login:
            yield warned(name, f"{service.place} asks for a login", "takes this one", _remedy(answer))
        else:
            yield passed(name, f"{service.place} answers", "answers as it should", critical=stops)


def _tracking(uri: str) -> Iterator[Service]:
    """The server or database of an address; nothing for one that is wrong, which check_address reports."""
    try:
        address = read_address(uri)
    except CapillaryError:
        return
    if address.kind is StoreKind.SERVER:
        yield Service(kind=Kind.MLFLOW, url=uri, tracks_runs=True)
    elif address.kind is StoreKind.DATABASE and urlsplit(uri).scheme.split("+")[0] == "postgresql":
        yield Service(kind=Kind.POSTGRES, url=uri, tracks_runs=True)


def _kind_of(url: str) -> Kind:
    scheme = urlsplit(url).scheme
    return Kind.HTTP if scheme in ("http", "https") else Kind(scheme)


def _ask_patiently(service: Service, variables: Mapping[str, str], params: ServiceParams) -> Answer:
    deadline = time.monotonic() + params.patience_s
    while True:
        answer = _ask(service, variables, params.timeout_s)
        if not answer.fault or answer.final or time.monotonic() + PAUSE_S > deadline:
            return answer
        time.sleep(PAUSE_S)


def _ask(service: Service, variables: Mapping[str, str], timeout_s: float) -> Answer:
    if service.kind in (Kind.POSTGRES, Kind.TCP):
        return _ask_tcp(service, timeout_s)
    if service.kind is Kind.MLFLOW:
        return ask_mlflow(service, variables, timeout_s)
    return _ask_http(service, variables, timeout_s)


def _ask_http(service: Service, variables: Mapping[str, str], timeout_s: float) -> Answer:
    """An object store refuses unsigned requests, which also counts as an answer."""
    reply = http_requests.ask("GET", service.url, variables, timeout_s, headers={})
    if isinstance(reply, Failure):
        fault = f"does not answer ({reply.reason})"
        return Answer(service=service, fault=fault, remedy=reply.remedy, final=reply.final)
    fault = f"answers with an error ({reply.status})" if reply.status >= 500 else ""
    return Answer(service=service, fault=fault, status=reply.status, ahead_s=reply.ahead_s, final=reply.status < 500)


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
    return Answer(service=service, fault="" if is_postgres else "is not a PostgreSQL server")


def _remedy(answer: Answer) -> str:
    if answer.remedy:
        return answer.remedy
    if answer.service.kind is Kind.MLFLOW:
        if answer.status in REFUSED:
            return LOGIN
        return "start it (docker compose up -d --wait), correct MLFLOW_TRACKING_URI, or unset it for the embedded store"
    if answer.service.kind is Kind.S3:
        return "start the object store, or correct its address ([SOURCE_ or ARTIFACTS_]AWS_ENDPOINT_URL)"
    return "start it, or remove its URL from `services` in configs/preflight.yaml"
