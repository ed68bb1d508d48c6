"""HTTP requests as MLflow's client makes them: the login, the certificates, and what a failed request means."""

import base64
import email.utils
import itertools
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from stages.common.text import json_value

CERTIFICATE = "MLFLOW_TRACKING_SERVER_CERT_PATH"
INSECURE = "MLFLOW_TRACKING_INSECURE_TLS"
CLIENT_CERTIFICATE = "MLFLOW_TRACKING_CLIENT_CERT_PATH"
MOST_BYTES = 1 << 20  # of a body: an answer that is longer is a page
_CHUNK_BYTES = 1 << 16
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer. `body` is its JSON object, None for anything else (a web page); `url` is where redirects ended."""

    status: int
    url: str
    body: dict[str, Any] | None
    text: str
    ahead_s: float | None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """No answer. `remedy` is empty if the cause is unknown; `final`: asking again would change nothing."""

    reason: str
    remedy: str = ""
    final: bool = False


def mlflow_login(variables: Mapping[str, str]) -> dict[str, str]:
    """The header that MLflow's client would send."""
    name, password = variables.get("MLFLOW_TRACKING_USERNAME"), variables.get("MLFLOW_TRACKING_PASSWORD")
    if name and password:
        return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}
    token = variables.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def verify(variables: Mapping[str, str]) -> bool | str:
    """What MLflow's client checks a server's certificate against: a file, or the system's (True); False: nothing."""
    if insecure(variables):
        return False
    return variables.get(CERTIFICATE) or True


def insecure(variables: Mapping[str, str]) -> bool:
    """Whether certificates are not to be checked."""
    return variables.get(INSECURE, "").lower() in ("true", "1")


def wrong_certificates(variables: Mapping[str, str]) -> Failure | None:
    """What MLflow's client refuses before it asks anything."""
    if insecure(variables) and variables.get(CERTIFICATE):
        remedy = f"unset {INSECURE}: the certificate in {CERTIFICATE} is then checked"
        return Failure(reason=f"{INSECURE} and {CERTIFICATE} exclude each other", remedy=remedy, final=True)
    for name in (CERTIFICATE, CLIENT_CERTIFICATE):
        file = variables.get(name)
        if file and not Path(file).exists():
            return Failure(reason=f"{name} names no file: {file}", remedy=f"correct {name}, or unset it", final=True)
    return None


def ask(
    method: str, url: str, variables: Mapping[str, str], timeout_s: float, *, headers: Mapping[str, str], **rest: Any
) -> Reply | Failure:
    """One request. Redirects of a GET are followed; those of a POST are not, because its body would be lost."""
    if failure := wrong_certificates(variables):
        return failure
    started = time.time()
    try:
        with requests.request(
            method,
            url,
            headers=dict(headers),
            timeout=timeout_s,
            stream=True,
            verify=verify(variables),
            cert=variables.get(CLIENT_CERTIFICATE) or None,
            allow_redirects=method == "GET",
            **rest,
        ) as response:
            read = itertools.islice(response.iter_content(_CHUNK_BYTES), MOST_BYTES // _CHUNK_BYTES)
            text = b"".join(read).decode("utf-8", "replace")
    except (requests.RequestException, OSError) as error:  # OSError: a certificate file that cannot be read
        return _failure(error, url, variables)
    except UnicodeEncodeError:
        remedy = "copy it again: MLFLOW_TRACKING_TOKEN can only hold letters, digits and signs of ASCII"
        return Failure(reason="the login cannot be sent in a header", remedy=remedy, final=True)
    except ValueError:  # requests leaves it to those who read a redirect's address
        return Failure(reason="leads to what is not an address")
    now_s = (started + time.time()) / 2
    return Reply(
        status=response.status_code,
        url=response.url,
        body=_json_object(text),
        text=text,
        ahead_s=_ahead_s(response.headers.get("Date"), now_s),
        headers=response.headers,
    )


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json_value(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _failure(error: Exception, url: str, variables: Mapping[str, str]) -> Failure:
    if isinstance(error, requests.exceptions.ProxyError):
        named = ", ".join(name for name in _PROXIES if variables.get(name)) or "the proxy's variables"
        host = urlsplit(url).hostname
        return Failure(reason=f"proxy: {reason_of(error)}", remedy=f"correct {named}, or add {host} to NO_PROXY")
    if isinstance(error, requests.exceptions.SSLError):
        return _tls_failure(error, url)
    return Failure(reason=reason_of(error))


def _tls_failure(error: Exception, url: str) -> Failure:
    inner = innermost(error)
    code = getattr(inner, "verify_message", "")
    if "self-signed" in code or "self signed" in code or "unable to get" in code:
        remedy = f"set {CERTIFICATE} in .env to the file (PEM) of the certificate that signed the server's"
    elif "expired" in code:
        remedy = "renew the server's certificate (or correct this machine's clock)"
    elif isinstance(inner, ssl.SSLCertVerificationError):
        remedy = f"write the host name in the server's certificate, instead of {urlsplit(url).hostname}"
    else:
        remedy = "write http:// if the server has no TLS; else check its TLS settings"
    return Failure(reason=f"TLS: {code or getattr(inner, 'reason', None) or inner}", remedy=remedy, final=True)


def reason_of(error: BaseException) -> str:
    """The innermost cause, without the URL, which may hold a password."""
    inner = innermost(error)
    return str(getattr(inner, "strerror", None) or type(inner).__name__)


def innermost(error: BaseException) -> BaseException:
    """What raised first."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _ahead_s(date: str | None, now_s: float) -> float | None:
    try:
        told = email.utils.parsedate_to_datetime(date or "")
    except ValueError:
        return None
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    return told.timestamp() - datetime.fromtimestamp(now_s, UTC).timestamp()
