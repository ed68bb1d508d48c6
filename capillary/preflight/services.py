"""The services that an experiment file names: whether each answers on its health path, and how to mend it if not."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

import requests
from pydantic import Field, field_validator, model_validator

from stages.common.params import Params
from stages.common.preflight.check import Check, missed, passed
from stages.common.preflight.checks.http_requests import innermost, reason_of
from stages.common.preflight.params import ServiceParams
from stages.common.text import visible

ANSWERS = "answers on its health path"
PAUSE_S = 0.5
LONGEST_SHOWN = 200  # characters of a redirect's address


class NamedService(Params):
    """An entry of `services` in an experiment file.

    `header` is sent with the value of the variable `header_from`, which the environment or .env holds.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,60}$")]
    url: str
    health: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/"
    critical: bool = True
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] | None = None
    header_from: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("Input should be an address such as http://localhost:6333")
        if "@" in parts.netloc:
            raise ValueError("Input should hold no password: name a header and the variable that holds its value")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _header_has_a_value(self) -> "NamedService":
        if (self.header is None) != (self.header_from is None):
            raise ValueError(f"`header` and `header_from` of {self.name} belong together: give both or neither")
        return self


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a question. `fault` is empty when the service answered; `final`: asking again changes nothing."""

    fault: str = ""
    remedy: str = ""
    final: bool = True


def check_named(
    services: Sequence[NamedService], variables: Mapping[str, str], patience: ServiceParams
) -> Iterator[Check]:
    """One check per service, all asked at once. One that does not answer is asked again while patience lasts."""
    if not services:
        return
    with ThreadPoolExecutor(max_workers=min(len(services), 16)) as pool:
        outcomes = pool.map(lambda service: _ask_patiently(service, variables, patience), services)
    for service, outcome in zip(services, outcomes, strict=True):
        name = f"service {service.name}"
        if outcome.fault:
            value = f"{service.url} {outcome.fault}"
            yield missed(name, value, ANSWERS, outcome.remedy, critical=service.critical)
        else:
            yield passed(name, f"{service.url} answers", ANSWERS, critical=service.critical)


def _ask_patiently(service: NamedService, variables: Mapping[str, str], patience: ServiceParams) -> Outcome:
    deadline = time.monotonic() + patience.patience_s
    while True:
        outcome = _ask(service, variables, patience.timeout_s)
        if outcome.final or time.monotonic() + PAUSE_S > deadline:
            return outcome
        time.sleep(PAUSE_S)


def _ask(service: NamedService, variables: Mapping[str, str], timeout_s: float) -> Outcome:
    value = variables.get(service.header_from or "", "").strip()
    if service.header_from and not value:
        return Outcome(
            fault=f"was not asked: {service.header_from} is not set",
            remedy=f"set {service.header_from} in .env to the value of the header {service.header}",
        )
    if not (value.isascii() and value.isprintable()):
        return Outcome(
            fault=f"was not asked: the value of {service.header_from} cannot be sent in a header",
            remedy=f"set {service.header_from} in .env to one line of plain characters",
        )
    headers = {service.header: value} if service.header else {}
    try:
        # a redirect would carry the header to another server
        with requests.get(
            service.url + service.health, headers=headers, timeout=timeout_s, allow_redirects=False, stream=True
        ) as answer:
            return _judged(service, answer)
    except requests.exceptions.SSLError as error:
        return _tls(service, error)
    except (requests.RequestException, OSError) as error:
        return Outcome(
            fault=f"does not answer ({reason_of(error)})",
            remedy=f"start {service.name}, correct its `url`, or set `critical: false` if the run does not need it",
            final=False,
        )


def _judged(service: NamedService, answer: requests.Response) -> Outcome:
    status = answer.status_code
    if status in (401, 403):
        return _refused(service, status)
    if status >= 500 or status == 429:
        remedy = f"look at the log of {service.name}: it runs, but is not ready"
        return Outcome(fault=f"is not ready ({status} on {service.health})", remedy=remedy, final=False)
    if 300 <= status < 400:
        target = visible(answer.headers.get("Location", "nowhere"))[:LONGEST_SHOWN]
        remedy = "write the address that it leads to in `url` and `health`"
        return Outcome(fault=f"redirects {service.health} to {target}", remedy=remedy)
    if status >= 400:
        remedy = f"correct `health` of {service.name}: the server answers, but this path is not its health check"
        return Outcome(fault=f"has no {service.health} ({status})", remedy=remedy)
    return Outcome()


def _refused(service: NamedService, status: int) -> Outcome:
    if service.header_from is None:
        remedy = f"give {service.name} a `header`, and in `header_from` the variable that holds its value"
        return Outcome(fault=f"requires a credential ({status})", remedy=remedy)
    return Outcome(
        fault=f"refuses the credential in {service.header_from} ({status})",
        remedy=f"correct {service.header_from} in .env, or the name of the header, {service.header}",
    )


def _tls(service: NamedService, error: Exception) -> Outcome:
    inner = innermost(error)
    why = str(getattr(inner, "verify_message", "") or getattr(inner, "reason", "") or type(inner).__name__)
    if "self-signed" in why or "self signed" in why or "unable to get" in why:
        remedy = "set REQUESTS_CA_BUNDLE to the file (PEM) of the certificate that signed the server's"
    elif "expired" in why:
        remedy = f"renew the certificate of {service.name}, or correct this machine's clock"
    elif "mismatch" in why.lower() or "not valid for" in why:
        remedy = "write the host name that is in the server's certificate"
    else:
        remedy = "write http:// in `url` if the server has no TLS; otherwise check its TLS settings"
    return Outcome(fault=f"has no valid TLS ({why})", remedy=remedy)
