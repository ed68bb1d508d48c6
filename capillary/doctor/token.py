"""The login at the tracking server: there, right, not expired, and allowed to write."""

import base64
import binascii
import json
import time
from collections.abc import Mapping

from capillary.lifetimes.bounded import LIMIT_S
from stages.common.errors import CapillaryError
from stages.common.preflight.check import Check, missed, passed
from stages.common.preflight.checks.http_requests import Reply, ask, mlflow_login
from stages.common.preflight.checks.mlflow_server import EXPERIMENT_QUESTION, LOGIN
from stages.common.preflight.checks.service import REFUSED, Answer
from stages.common.tracking.address import EMBEDDED, VARIABLE, StoreKind, read_address

NAME = "token"
_WANTED = "known to the server and allowed to write"
_NEW = "create a new one on the server and put it into .env (MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN)"


def check_token(answer: Answer | None, variables: Mapping[str, str]) -> Check:
    """`answer` is what the tracking server said to preflight's questions; None if no server was asked."""
    if answer is None:
        return passed(NAME, _without_server(variables), _WANTED)
    if answer.status is None:
        return passed(NAME, "not tried: the server does not answer", _WANTED)
    ended = expired_on(variables.get("MLFLOW_TRACKING_TOKEN", ""), time.time())
    if ended and answer.status in REFUSED:
        return missed(NAME, f"it has expired, on {ended}", _WANTED, _NEW, critical=True)
    if answer.asks_for_login:
        return missed(NAME, "it is missing: the server asks for one", _WANTED, LOGIN, critical=True)
    if answer.status in REFUSED:
        return _refused(answer, variables)
    if "not written to" in answer.fault:
        return missed(NAME, "it is valid, but not allowed to write", _WANTED, answer.remedy, critical=True)
    words = "accepted" if answer.had_credentials else "not asked for"
    return passed(NAME, words, _WANTED, critical=True)


def _without_server(variables: Mapping[str, str]) -> str:
    try:
        is_embedded = read_address(variables.get(VARIABLE, EMBEDDED)).kind is StoreKind.EMBEDDED
    except CapillaryError:  # the check of the registry names it
        is_embedded = False
    if is_embedded:
        return "not needed: runs are kept on this machine"
    return f"not tried: {VARIABLE} is not the address of an HTTP server"


def expired_on(token: str, now_s: float) -> str | None:
    """The day on which a JSON Web Token ended, as it says itself; None for one that is valid or of another kind."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    ends_s = claims.get("exp") if isinstance(claims, dict) else None
    if not isinstance(ends_s, int | float) or not 0 < ends_s < now_s:
        return None
    return time.strftime("%Y-%m-%d", time.gmtime(ends_s))


def _refused(answer: Answer, variables: Mapping[str, str]) -> Check:
    """Wrong or expired: some servers say which, and it is asked once more for these words."""
    url = answer.service.url.rstrip("/") + EXPERIMENT_QUESTION
    reply = ask("GET", url, variables, LIMIT_S, headers=mlflow_login(variables))
    told = "" if not isinstance(reply, Reply) else f"{reply.text} {reply.headers.get('WWW-Authenticate', '')}"
    if "expired" in told.casefold():
        return missed(NAME, "it has expired, says the server", _WANTED, _NEW, critical=True)
    what = "it is wrong, or has expired" if answer.status == 401 else "it is not allowed to see this server"
    return missed(NAME, f"{what} ({answer.status})", _WANTED, LOGIN, critical=True)
