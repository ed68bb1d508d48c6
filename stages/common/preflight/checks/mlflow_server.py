"""An MLflow server, asked what a training asks it first and last: the experiment, a write, the registry, artifacts.

Nothing is changed there: the writes lack what the server requires, so that it refuses them as incomplete (400) where
it would take them, and as forbidden (401, 403) where it would not.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from stages.common.preflight.checks.http_requests import Failure, Reply, ask, mlflow_login
from stages.common.preflight.checks.service import REFUSED, Answer, Service
from stages.common.text import visible
from stages.common.tracking.address import EXPERIMENT, restore_command

API = "/api/2.0/mlflow"
EXPERIMENT_QUESTION = f"{API}/experiments/get-by-name?experiment_name={EXPERIMENT}"
REGISTRY_QUESTION = f"{API}/model-versions/search?max_results=1&filter=" + quote(f"name = '{EXPERIMENT}-none'")
OLDEST = (2, 7)
LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in .env (see .env.example)"
_ADDRESS = "correct MLFLOW_TRACKING_URI: it is the address before /#/ in the browser; on DagsHub it ends with .mlflow"
_SIGNERS = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4")  # logins that only MLflow's plug-ins can make
Fault = tuple[str, str]  # what is wrong, the remedy ("" for the usual one)
Ask = Callable[..., Reply | Failure]


def ask_mlflow(service: Service, variables: Mapping[str, str], timeout_s: float) -> Answer:
    """What `service` answers to a training's questions; the first fault ends the conversation."""
    login = mlflow_login(variables)
    base = service.url.rstrip("/")

    def question(method: str, path: str, **rest: Any) -> Reply | Failure:
        return ask(method, base + path, variables, timeout_s, headers=login, **rest)

    first = question("GET", EXPERIMENT_QUESTION)
    if isinstance(first, Failure):
        fault = f"does not answer ({first.reason})"
        return Answer(service=service, fault=fault, remedy=first.remedy, final=first.final)
    had = bool(login) or urlsplit(service.url).username is not None
    signed = any(variables.get(name) for name in _SIGNERS)
    if first.status in REFUSED and (signed or not (had or first.status == 403)):
        what, remedy = "", ""
    else:
        what, remedy = next(_faults(service, first, question, variables), ("", ""))
    return Answer(
        service=service,
        fault=what,
        remedy=remedy,
        status=first.status,
        ahead_s=first.ahead_s,
        had_credentials=had or signed,
        artifacts=str(_experiment_of(first).get("artifact_location", "")),
        final=first.status < 500,
    )


def _faults(service: Service, first: Reply, question: Ask, variables: Mapping[str, str]) -> Iterator[Fault]:
    yield from _experiment_faults(service, first)
    experiment = _experiment_of(first)
    yield from _age_faults(question("GET", "/version"))
    yield from _write_faults(question, str(experiment.get("experiment_id", "")), variables)
    yield from _registry_faults(question("GET", REGISTRY_QUESTION))
    yield from _artifact_faults(str(experiment.get("artifact_location", "mlflow-artifacts:/")))


def _experiment_faults(service: Service, reply: Reply) -> Iterator[Fault]:
    """Whether it is MLflow, accepts the login, and has not deleted the experiment. A training creates a missing one."""
    body, experiment = reply.body, _experiment_of(reply)
    if reply.status >= 500:
        proxy = ": a proxy before the server" if body is None and reply.status in (502, 503, 504) else ""
        remedy = "start the server behind the proxy, or see the proxy's own log" if proxy else ""
        yield f"answers with an error ({reply.status}{proxy})", remedy
    elif reply.status in REFUSED:
        yield f"refuses these credentials ({reply.status})", LOGIN
    elif reply.status == 400 and "HTTPS" in reply.text:
        yield "accepts only TLS (400)", f"write https:// instead of http:// ({service.place})"
    elif body is None and reply.status == 200:
        moved = f", at {_place_of(reply.url)}" if _place_of(reply.url) != service.place else ""
        yield f"answers with a web page{moved}, as a login page does", f"{_ADDRESS}; or {LOGIN}"
    elif reply.status == 404 and (body or {}).get("error_code") == "RESOURCE_DOES_NOT_EXIST":
        return
    elif reply.status != 200 or not experiment:
        yield f"is not an MLflow server ({reply.status})", _ADDRESS
    elif experiment.get("lifecycle_stage") == "deleted":
        number = str(experiment.get("experiment_id"))
        yield f"has the experiment {EXPERIMENT} deleted", f"restore it: {restore_command(service.url, number)}"


def _experiment_of(reply: Reply) -> dict[str, Any]:
    """The experiment in an answer, empty if it has none: another program may answer anything."""
    found = (reply.body or {}).get("experiment")
    return found if isinstance(found, dict) else {}


def _age_faults(reply: Reply | Failure) -> Iterator[Fault]:
    """A server that hides its version passes."""
    found = re.match(r"(\d+)\.(\d+)", reply.text.strip()) if isinstance(reply, Reply) and reply.status == 200 else None
    if found and (int(found[1]), int(found[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        yield f"is MLflow {found[0]}", f"update the server to MLflow {oldest} or later (mlflow db upgrade for its data)"


def _write_faults(question: Ask, experiment_id: str, variables: Mapping[str, str]) -> Iterator[Fault]:
    """A write that is incomplete: a server that would accept a complete one refuses it as such."""
    path = "set-experiment-tag" if experiment_id else "create"
    body = {"experiment_id": experiment_id} if experiment_id else {}
    reply = question("POST", f"{API}/experiments/{path}", json=body)
    if isinstance(reply, Failure):
        return
    target = reply.headers.get("Location", "")
    if reply.status in (301, 302, 303, 307, 308):
        remedy = f"write the address that it leads to: {_place_of(target)}" if target else _ADDRESS
        yield f"redirects what is written to it ({reply.status})", remedy
    elif reply.status in (*REFUSED, 405):
        name = variables.get("MLFLOW_TRACKING_USERNAME")
        who = f"the user {name}" if name else "this login"
        yield (
            f"may be read, but not written to ({reply.status})",
            f"give {who} the right to create experiments and to edit {EXPERIMENT}, or use another login in .env",
        )


def _registry_faults(reply: Reply | Failure) -> Iterator[Fault]:
    if isinstance(reply, Failure):
        return
    if reply.status in REFUSED:
        yield f"refuses its model registry ({reply.status})", "give this login the right to register models"
    elif reply.status == 404 or (reply.status == 200 and reply.body is None):
        remedy = (
            "with CAPILLARY_TRACKING=auto networks are kept as files of their runs; "
            "for versions, use a server with one (MLflow 2.7 or later)"
        )
        yield f"has no model registry ({reply.status})", remedy


def _artifact_faults(location: str) -> Iterator[Fault]:
    """A server may pass files on, or send its clients to a store. They cannot reach a folder on its own machine."""
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)", location)
    if scheme is None or scheme[0] == "file":
        yield (
            f"keeps files in a folder on its own machine ({visible(location)[:200]}), which no stage can write",
            "start it with --artifacts-destination instead of --default-artifact-root, and rename or permanently "
            f"delete (mlflow gc) the experiment {EXPERIMENT}, which remembers that folder",
        )


def _place_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
