"""The connection to an MLflow server (2.7 and later) or to the embedded SQLite store.

MLflow's own HTTP retries repeat a POST whose answer was lost, which can create a run or a model version twice. So they
are off, and `Server.call` repeats whole questions instead ("find it or create it"). Transfers of artifacts, which may
be repeated safely, run with MLflow's retries on (`patient_transfers`).
"""

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

# read by MLflow while it is imported: no calls home, no URL (it may hold a password) on stdout, no bars in logs
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
# Files go through the server, whose address is all that is known to be in reach. From MLflow 3.17 on a server may offer
# addresses of its own S3 store instead, which only its own network knows, and the client waits for them for minutes.
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "false")

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import HTTP_STATUS_TO_ERROR_CODE, MlflowException, RestException

from stages.common.errors import ServiceError
from stages.common.lifetimes.locks import locked
from stages.common.program.messages import get_logger
from stages.common.runtime import Runtime
from stages.common.text import visible, without_login
from stages.common.tracking.database_file import refuse_damaged_database
from stages.common.tracking.relocation import ARTIFACTS, settle

log = get_logger(__name__)

PATIENCE_S = 120.0
REQUEST_TIMEOUT_S = 60
SERVERS_OWN, TOO_MANY, TIMED_OUT = 500, 429, 408  # HTTP statuses
_NO_SUCH_PATH = (404, 405, 501)
_SQLITE = "sqlite:///"
_TRANSIENT = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
_NO_ENDPOINT = {"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"}
_CONTENT = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"}
# two writers met in the server's database, which lets one of them through; a moment later it takes the other one, too
_COLLISION = re.compile(
    r"UNIQUE constraint|duplicate key|Duplicate entry|database is locked|deadlock|could not serialize", re.IGNORECASE
)
# some servers answer 401 and 404 in JSON of their own, which MLflow's client calls INTERNAL_ERROR
_UNSUPPORTED = re.compile(r"unsupported endpoint|\b40[45]\b|not found|method not allowed", re.IGNORECASE)
# and of a status that is not among MLflow's own, the client keeps no more than these words
_STATUS = re.compile(r"failed with error code (\d{3}) != 200")
_LOGIN = re.compile(r"\b40[13]\b|unauthori[sz]ed|authenticat|credential|invalid token|access denied", re.IGNORECASE)
_SILENCE = re.compile(r"API request to \S+ failed with (?:timeout )?exception")  # MLflow's words for all of it
_LOGIN_CODES = {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"}
_LOGIN_REMEDY = (
    "renew the login or token in .env (MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN)"
)
_REMEDY = (
    "check MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD and that the server is up, or "
    "unset MLFLOW_TRACKING_URI for the embedded store. A command that ended for this can be repeated: a training "
    "resumes from its checkpoint"
)
_OTHER_REMEDY = (
    "check MLFLOW_TRACKING_URI: another program, or a page that asks for a login, answers there; then repeat"
)
_SECRET = re.compile(r"(PASSWORD|TOKEN|SECRET|SECRET_ACCESS_KEY)$")  # how the names of such variables end
_LEAST_SECRET = 6  # characters: a shorter one is a word that may stand anywhere
_MISREAD = "google.protobuf.json_format"  # its errors are those of an answer in another form; MLflow passes them on
_NUMBERED = (Experiment, Run, ModelVersion, RegisteredModel)
Answer = TypeVar("Answer")
# MLflow reads its limits from the environment of the process, so that one thread of it asks at a time
transport = threading.RLock()


class OutageError(ServiceError):
    """The server did not answer, as long as somebody was ready to wait."""


class RefusedError(ServiceError):
    """The server answered, and the answer is no; asking again at once is useless. `error_code` is MLflow's."""

    def __init__(self, what: str, *, remedy: str, error_code: str, value: object) -> None:
        super().__init__(what, remedy=remedy, value=value)
        self.error_code = error_code

    @property
    def is_missing_endpoint(self) -> bool:
        """Whether the server does not know the question at all, as one without a model registry."""
        return self.error_code in _NO_ENDPOINT

    @property
    def is_about_content(self) -> bool:
        """Whether the server will never take what it was sent, whoever sends it."""
        return self.error_code in _CONTENT

    @property
    def is_unknown(self) -> bool:
        """Whether the server does not have what it was asked for."""
        return self.error_code == "RESOURCE_DOES_NOT_EXIST"


def redact(text: str) -> str:
    """`text` without the user:password@ part of any URL in it, and without the secrets that this process was given.

    A token that ends with a line break, as files of secrets have it, is quoted by the HTTP client that refuses it.
    """
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(secret := value.strip()) >= _LEAST_SECRET:
            text = text.replace(secret, "***")
    return without_login(text)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A tracking server with its registry. `uri` may hold credentials: show `redact(uri)`.

    `patience_s` is for how long a question is repeated that does not say so itself.
    """

    client: MlflowClient
    uri: str
    patience_s: float = PATIENCE_S

    def call(self, what: str, ask: Callable[[], Answer], patience_s: float | None = None) -> Answer:
        """The answer to `ask`, which must be safe to repeat; `what` completes "MLflow does not ...".

        Asks again after 0.5, 1, 2, 4, 8, 8, ... s while the server is unreachable or answers 5xx, for `patience_s`.
        Raises RefusedError for a definite no, and OutageError when patience is at an end or the answer is no MLflow
        server's.
        """
        deadline = time.monotonic() + (self.patience_s if patience_s is None else patience_s)
        pause_s = 0.5
        while True:
            log.debug(f"asks MLflow at {redact(self.uri)} to {what}")
            try:
                with transport:
                    return _numbered(ask())
            except (MlflowException, OSError) as error:
                if isinstance(error, OSError) and not hasattr(error, "response"):
                    raise  # of this machine's disk; the others are those of `requests`, which transfers files
                detail = visible(redact(str(error))[:500])
                if not _is_transient(error):
                    raise self._refused(what, _code_of(error), detail) from None
                if time.monotonic() + pause_s > deadline:
                    unanswered = f"MLflow at {redact(self.uri)} does not {'answer' if _is_silence(error) else what}"
                    raise OutageError(unanswered, remedy=_REMEDY, value=detail) from None
            except Exception as error:
                if not (isinstance(error, _NoIdError) or type(error).__module__ == _MISREAD):
                    raise
                raise self._other(str(error)) from None
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 8.0)

    def _other(self, detail: str) -> OutageError:
        what = f"what answers at {redact(self.uri)} is not an MLflow server"
        return OutageError(what, remedy=_OTHER_REMEDY, value=visible(redact(detail)[:500]))

    def _refused(self, what: str, error_code: str, detail: str) -> RefusedError:
        place = redact(self.uri)
        if error_code in _LOGIN_CODES or (error_code == "INTERNAL_ERROR" and _LOGIN.search(detail)):
            what, remedy = f"MLflow at {place} refuses the login and does not {what}", _LOGIN_REMEDY
        else:
            what, remedy = f"MLflow at {place} refuses to {what}", _REMEDY
        return RefusedError(what, remedy=remedy, error_code=error_code, value=detail)


class _NoIdError(Exception):
    """What should have an id has none."""


def _numbered(answer: Answer) -> Answer:
    """`answer`, in which everything that a server numbers or names has its number or name; else _NoIdError.

    Of `{"status": "ok"}`, which any web server may answer, MLflow's client makes a run without an id, and all that is
    sent to it counts as taken.
    """
    for one in answer if isinstance(answer, list) else [answer]:
        if one == "" or (isinstance(one, _NUMBERED) and not _number_of(one)):
            raise _NoIdError(f"its answer has no id: {str(one)[:200]!r}")
    return answer


def _number_of(one: Experiment | Run | ModelVersion | RegisteredModel) -> object:
    if isinstance(one, Run):
        return one.info.run_id
    if isinstance(one, ModelVersion):
        return one.name and re.fullmatch(r"[0-9]{1,18}", str(one.version))
    return one.experiment_id if isinstance(one, Experiment) else one.name


def _is_transient(error: MlflowException | OSError) -> bool:
    if _code_of(error) != "RESOURCE_ALREADY_EXISTS" and _COLLISION.search(str(error)):
        return True
    status = _status_of(error)
    if status is not None:
        return _may_pass(status)
    if isinstance(error, OSError):
        return True
    # a RestException is an answer in the server's own words; an outage, a timeout or a 5xx is a bare MlflowException
    return not isinstance(error, RestException) and error.error_code in _TRANSIENT


def _is_silence(error: MlflowException | OSError) -> bool:
    """Whether nobody answered: no connection, or one that was cut or that nothing came through in time."""
    if isinstance(error, OSError):
        return _status_of(error) is None
    return not isinstance(error, RestException) and _SILENCE.match(str(error)) is not None


def _may_pass(status: int) -> bool:
    return (status >= SERVERS_OWN and status not in _NO_SUCH_PATH) or status in (TOO_MANY, TIMED_OUT)


def _status_of(error: MlflowException | OSError) -> int | None:
    """The HTTP status of an answer that was no good, None where there was no answer, or one in MLflow's own words."""
    if isinstance(error, MlflowException):
        found = _STATUS.search(str(error))
        return int(found[1]) if found and not isinstance(error, RestException) else None
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status


def _code_of(error: MlflowException | OSError) -> str:
    status = _status_of(error)
    if status in _NO_SUCH_PATH:
        return "ENDPOINT_NOT_FOUND"
    if isinstance(error, RestException) and "error_code" not in error.json and _UNSUPPORTED.search(str(error.json)):
        return "ENDPOINT_NOT_FOUND"
    if isinstance(error, MlflowException):
        return str(error.error_code)
    return str(HTTP_STATUS_TO_ERROR_CODE.get(status or 0, "INTERNAL_ERROR"))


def connect(runtime: Runtime) -> Server:
    """The server of `runtime`, not asked anything yet. In embedded mode its folder exists afterwards.

    Raises DamagedError when the embedded store's file is not whole.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    _limit_http(timeout_s=REQUEST_TIMEOUT_S, retries=0)
    with embedded_lock(runtime.tracking_uri):  # two first users of a SQLite file would both create its tables
        if runtime.tracking_uri.startswith(_SQLITE):
            file = Path(runtime.tracking_uri.removeprefix(_SQLITE))
            refuse_damaged_database(file)
            _create_whole(file)
            settle(file)
        client = MlflowClient(runtime.tracking_uri, registry_uri=runtime.tracking_uri)
        return Server(client=client, uri=runtime.tracking_uri)


@contextlib.contextmanager
def patient_transfers() -> Iterator[None]:
    """Within the block MLflow repeats failed HTTP requests itself (for about two minutes): files go up or down."""
    with http_limits(timeout_s=120, retries=6):
        yield


@contextlib.contextmanager
def uploads() -> Iterator[None]:
    """Within the block MLflow repeats failed HTTP requests twice: files go up, and the same file twice does no harm."""
    with http_limits(timeout_s=REQUEST_TIMEOUT_S, retries=2):
        yield


@contextlib.contextmanager
def settled(server: Server) -> Iterator[None]:
    """Within the block the embedded store records the path by which this process knows it; nothing for a server.

    A stage in a container may know the folder by another path and use the store at the same time. Each rewrites the
    locations right before it moves files, and the other one waits.
    """
    with embedded_lock(server.uri):
        if server.uri.startswith(_SQLITE):
            settle(Path(server.uri.removeprefix(_SQLITE)))
        yield


@contextlib.contextmanager
def http_limits(*, timeout_s: int, retries: int) -> Iterator[None]:
    """Within the block one HTTP request of MLflow takes at most `timeout_s` and is repeated `retries` times."""
    with transport:
        _limit_http(timeout_s=timeout_s, retries=retries)
        try:
            yield
        finally:
            _limit_http(timeout_s=REQUEST_TIMEOUT_S, retries=0)


def _limit_http(*, timeout_s: int, retries: int) -> None:
    # MLflow reads these from the environment at each request
    os.environ[MLFLOW_HTTP_REQUEST_TIMEOUT.name] = str(timeout_s)
    os.environ[MLFLOW_HTTP_REQUEST_MAX_RETRIES.name] = str(retries)


@contextlib.contextmanager
def embedded_lock(uri: str) -> Iterator[None]:
    """One process at a time per SQLite file; nothing to hold for a server."""
    if not uri.startswith(_SQLITE):
        yield
        return
    with locked(Path(uri.removeprefix(_SQLITE)).parent / ".first-use.lock"):
        yield


def _create_whole(file: Path) -> None:
    """The database `file` with all its tables, unless it exists; call it under `embedded_lock`.

    MLflow makes the tables one by one, and a process killed between two of them would leave a file that MLflow can
    neither use nor finish. So they are made in another file, which then takes the name.
    """
    if file.exists():
        return
    # here: who uses a server needs no SQLAlchemy
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = file.with_name(f".{file.name}.new")
    for leftover in file.parent.glob(f"{new.name}*"):  # and what SQLite keeps next to it
        leftover.unlink()
    artifacts = str(file.parent / ARTIFACTS)
    store = SqlAlchemyStore(f"{_SQLITE}{new}", artifacts)  # type: ignore[no-untyped-call]
    store.engine.dispose()
    new.replace(file)
